package device

import "net/netip"

// Observation is what the relay has seen of a client since the last observation of its
// session.
type Observation struct {
	Client   netip.Addr
	MAC      string   // hardware address; empty if unknown
	Hello    string   // its EHLO or HELO argument, unverified
	TLS      string   // version, such as "TLS 1.2"; empty for clear text
	Login    string   // the mechanism of SMTP AUTH; empty without
	User     string   // that has logged in; empty for none
	Quirks   []string // how it differs from the standards, such as "no brackets"
	Messages int      // that were accepted
	Refused  bool     // a connection, a command or a message was refused
	Refusal  string   // the reply
}

// isHealthCheck reports whether a program of the box itself only looked whether the relay
// greets, as the appliance does every few seconds.
func (o Observation) isHealthCheck() bool {
	return o.Client.Unmap().IsLoopback() && o.Hello == "" && o.Messages == 0 && !o.Refused
}
