package main

import (
	"fmt"

	"sealpost/tests/rigs/tenant"
)

// play is the two acts of the demonstration: a message that the tenant takes,
// and one that comes while the tenant is away.
type play struct {
	stage *stage
	act   int
	end   func() // when both are over
	err   error
}

// begin sends the first message.
func (p *play) begin() error {
	p.act = 1
	fmt.Print("\nA printer sends a scan.\n\n")
	return printerSends()
}

// follow goes on with the play when an event asks for it.
func (p *play) follow(event string) {
	switch {
	case p.act == 1 && event == "delivered":
		p.act = 2
		fmt.Print("\nThe tenant goes away, and the printer sends another one.\n\n")
		p.stage.tenant.Behave(func(verb, _ string) string {
			if verb == "CONNECT" {
				return tenant.HangUp
			}
			return ""
		})
		p.stage.tenant.DropConnections()
		p.err = printerSends()
	case p.act == 2 && event == "kept":
		p.act = 3
		fmt.Print("\nThe tenant comes back; the box asks now and then.\n\n")
		p.stage.tenant.Behave(nil)
	case p.act == 3 && event == "delivered", event == "refused", event == "deferred":
		if p.act < 4 {
			p.act = 4
			p.end()
		}
	}
}
