// Package upstream holds what all delivery methods share: the calls during a
// delivery, its result, and the error of a delivery without a usable reply.
//
// It holds values only. It must not know a protocol's commands or what happens
// to the message.
package upstream

import (
	"sealpost/hal/fault"
	"sealpost/relay/journal"
	"sealpost/relay/reply"
)

// Transactions are the calls that an upstream makes while it delivers one
// message in one mail transaction or in several, one after the other. Their
// replies are in the order of the envelope's recipients.
type Transactions struct {
	// ShouldSend decides, after the replies to every RCPT of a transaction, whether its
	// content is sent. Each recipient of the message has its last reply; Code 0 stands for
	// one that was not offered yet. After false, the upstream starts no further transaction.
	ShouldSend func(replies []reply.Reply) bool
	// Settled is called after each transaction but the last, before the next one begins,
	// with the replies that are final; Code 0 stands for a recipient without one. The
	// content was accepted for those with a 2yz reply. An upstream of single transactions
	// does not call it.
	Settled func(replies []reply.Reply)
}

// Result is the response of the servers to one message.
type Result struct {
	Mail reply.Reply // to the first MAIL
	// Replies has the final reply of each recipient, in the envelope's order: that of its
	// transaction's content, of RCPT, or of MAIL if that was rejected. Code 0 stands for a
	// recipient that no server replied for.
	Replies    []reply.Reply
	Accepted   bool // the content was accepted for the recipients with a 2yz reply
	Connection journal.Connection
	// Hosts has the server that each recipient's reply came from, empty for a reply of
	// the relay's own. Nil means that all came over Connection.
	Hosts []string
	// Unanswered is set for the recipients whose content was sent without a reply to it,
	// while a server replied for others; nil if there are none.
	Unanswered []bool
	// DSN is set if the server offers DSN and was given the message's parameters: it
	// notifies the sender of success itself (RFC 3461 section 5.2.1).
	DSN     bool
	Trustee string // the account that needs Send As permission; empty without a login
}

// Unavailable is the error of a delivery without a usable reply. The message
// may be offered again later.
type Unavailable struct {
	Status            reply.Status // enhanced status code for clients, class 4
	Reason            string       // cause and advice, for people
	ServerReply       reply.Reply  // reply with which the server rejected the session, or zero
	DuringTransaction bool         // the connection was lost during this message's transaction
	// Unanswered is set if the content was sent, or may have been received as a whole,
	// and no reply to it came: the server may have accepted the message (RFC 1047).
	Unanswered bool
	// Account is set if the fault concerns only the message's account.
	Account bool
	// Configuration is set if a configuration change is needed, although no reply
	// says so.
	Configuration bool
	Code          fault.Code // fault code, if not in Err
	Err           error
}

func (u *Unavailable) Error() string {
	if u.Err == nil {
		return u.Reason
	}
	return u.Reason + " (" + u.Err.Error() + ")"
}

func (u *Unavailable) Unwrap() error { return u.Err }

// ClientReply returns the reply for the client.
func (u *Unavailable) ClientReply() reply.Reply {
	return reply.Reply{Code: 451, Status: u.Status, Text: u.Reason}
}
