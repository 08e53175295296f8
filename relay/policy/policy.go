// Package policy decides who may send, and under which sender.
//
// It is pure: it knows networks, domains and addresses, does no I/O and reads
// no clock. It must not know how a client is rejected, or how mail is
// delivered.
package policy

import (
	"net/netip"
	"slices"

	"sealpost/relay/envelope"
)

// Policy is the relay policy from the settings.
type Policy struct {
	Networks        []netip.Prefix   // other clients are rejected
	AcceptedDomains []string         // the tenant's accepted domains, in lower case
	DefaultSender   envelope.Address // replaces a missing or foreign sender; may be empty
}

// MayRelay reports whether the relay accepts mail from this client.
func (p Policy) MayRelay(client netip.Addr) bool {
	client = client.Unmap().WithZone("")
	return slices.ContainsFunc(p.Networks, func(n netip.Prefix) bool { return n.Contains(client) })
}

// Sender returns the reverse-path of a message. Exchange Online relays only for
// senders in an accepted domain; a missing or foreign sender is replaced by the
// default sender, if there is one.
func (p Policy) Sender(clientSender envelope.Address) envelope.Address {
	if p.DefaultSender == "" || slices.Contains(p.AcceptedDomains, clientSender.Domain()) {
		return clientSender
	}
	return p.DefaultSender
}
