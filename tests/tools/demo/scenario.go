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
func (s *scenario) begin() error {
	s.step = 1
	fmt.Print("\nA printer sends a scan.\n\n")
	return sendScan()
}

// advance starts the next step when its event arrives.
func (s *scenario) advance(event string) {
	switch {
	case s.step == 1 && event == "delivered":
		s.step = 2
		fmt.Print("\nThe tenant goes down, and the printer sends another scan.\n\n")
		s.demo.tenant.SetScript(func(verb, _ string) string {
			if verb == "CONNECT" {
				return tenant.HangUp
			}
			return ""
		})
		s.demo.tenant.DropConnections()
		s.err = sendScan()
	case s.step == 2 && event == "queued":
		s.step = 3
		fmt.Print("\nThe tenant is up again; the box retries.\n\n")
		s.demo.tenant.SetScript(nil)
	case s.step == 3 && event == "delivered", event == "refused", event == "deferred":
		if s.step < 4 {
			s.step = 4
			s.end()
		}
	}
}
