package main

import (
	"fmt"

	"sealpost/tests/rigs/tenant"
)

// scenario runs the demonstration: one message while the tenant accepts mail, and
// one while it is down.
type scenario struct {
	demo *demo
	step int
	end  func() // called after the last step
	err  error
}

// begin sends the first message.
func (p *scenario) begin() error {
	p.step = 1
	fmt.Print("\nA printer sends a scan.\n\n")
	return printerSends()
}

// advance starts the next step when its event arrives.
func (p *scenario) advance(event string) {
	switch {
	case p.step == 1 && event == "delivered":
		p.step = 2
		fmt.Print("\nThe tenant goes down, and the printer sends another scan.\n\n")
		p.demo.tenant.SetScript(func(verb, _ string) string {
			if verb == "CONNECT" {
				return tenant.HangUp
			}
			return ""
		})
		p.demo.tenant.DropConnections()
		p.err = printerSends()
	case p.step == 2 && event == "queued":
		p.step = 3
		fmt.Print("\nThe tenant is up again; the box retries.\n\n")
		p.demo.tenant.SetScript(nil)
	case p.step == 3 && event == "delivered", event == "refused", event == "deferred":
		if p.step < 4 {
			p.step = 4
			p.end()
		}
	}
}
