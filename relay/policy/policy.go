// Package policy is the box's judgment of who may send, and as whom.
//
// It is pure: it knows networks, domains and addresses, does no I/O and reads
// no clock. It must not know how a client is told, or how mail leaves.
package policy

import (
	"net/netip"
	"slices"

	"sealpost/relay/envelope"
)

// Policy is what the settings say about senders.
type Policy struct {
	Networks        []netip.Prefix   // clients in none of them are refused
	AcceptedDomains []string         // the tenant's accepted domains, in lower case
	DefaultSender   envelope.Address // stands in for a missing or foreign sender; may be empty
}

// MayRelay tells whether the box relays for this client.
func (p Policy) MayRelay(client netip.Addr) bool {
	client = client.Unmap().WithZone("")
	return slices.ContainsFunc(p.Networks, func(n netip.Prefix) bool { return n.Contains(client) })
}

// Sender gives the reverse-path under which a message leaves. Exchange Online
// relays for senders in an accepted domain; a device that gives none, or one
// of a foreign domain, sends as the default sender where there is one.
func (p Policy) Sender(given envelope.Address) envelope.Address {
	if p.DefaultSender == "" || slices.Contains(p.AcceptedDomains, given.Domain()) {
		return given
	}
	return p.DefaultSender
}
