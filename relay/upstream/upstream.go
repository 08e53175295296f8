// Package upstream holds what all ways out of the box have in common: the
// result of a delivery attempt and the words for one that could not be made.
//
// It is values only. It must not know a protocol's commands or what becomes
// of the message afterwards.
package upstream

import (
	"sealpost/hal/fault"
	"sealpost/relay/journal"
	"sealpost/relay/reply"
)

// Result is what the far side said to one message.
type Result struct {
	Replies    []reply.Reply // one for each recipient, in the envelope's order
	Accepted   bool          // the far side took the content for recipients answered 2yz
	Connection journal.Connection
	Trustee    string // who needs the right to send as the sender; empty where nobody logged in
}

// Unavailable is the error of an attempt that nobody got an answer from that
// counts: the message may be offered again later.
type Unavailable struct {
	Status            reply.Status // what it says by RFC 3463, class 4
	Reason            string       // for the technician: what is wrong and what to do
	ServerReply       reply.Reply  // the far side's, where it refused to go on at all; else zero
	DuringTransaction bool         // the server broke off over this message, after it was ready for mail
	// Account tells that the fault is that of the message's account alone.
	Account bool
	// Configuration tells that nothing will go out before somebody changes
	// something, though no answer says so.
	Configuration bool
	Code          fault.Code // of the fault, where it has one beside those in Err
	Err           error
}

func (u *Unavailable) Error() string {
	if u.Err == nil {
		return u.Reason
	}
	return u.Reason + " (" + u.Err.Error() + ")"
}

func (u *Unavailable) Unwrap() error { return u.Err }

// ClientReply is what a client hears in place of an answer from the far side.
func (u *Unavailable) ClientReply() reply.Reply {
	return reply.Reply{Code: 451, Status: u.Status, Text: u.Reason}
}
