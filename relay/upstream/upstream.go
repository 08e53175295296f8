// Package upstream holds what all delivery methods share: the result of a
// delivery, and the error of a delivery without a usable reply.
//
// It holds values only. It must not know a protocol's commands or what happens
// to the message.
package upstream

import (
	"sealpost/hal/fault"
	"sealpost/relay/journal"
	"sealpost/relay/reply"
)

// Result is the server's response to one message.
type Result struct {
	Mail       reply.Reply   // to MAIL
	Replies    []reply.Reply // one for each recipient, in the envelope's order; Mail if that was rejected
	Accepted   bool          // the server accepted the content for the recipients with a 2yz reply
	Connection journal.Connection
	// DSN is set if the server offers DSN and was given the message's parameters: it
	// notifies the sender of success itself (RFC 3461 section 5.2.1).
	DSN bool
	// Unanswered is set for recipients whose transaction ended without a reply to its
	// content, which the server may have accepted. Nil means none.
	Unanswered []bool
	Trustee    string // the account that needs Send As permission; empty without a login
}

// Transactions are the decisions of the caller of a delivery, which may take several
// transactions, one after another. Replies have the envelope's order; their code is 0
// for recipients that have no reply yet.
type Transactions struct {
	// ShouldSend is called after the replies to every RCPT of a transaction, and decides
	// whether its content is sent.
	ShouldSend func(replies []reply.Reply) bool
	// Settled is called after each transaction but the last, with the final replies so
	// far. It returns once they are durable.
	Settled func(replies []reply.Reply)
}

// Unavailable is the error of a delivery without a usable reply. The message
// may be offered again later.
type Unavailable struct {
	Status            reply.Status // enhanced status code for clients, class 4
	Reason            string       // cause and advice, for people
	ServerReply       reply.Reply  // reply with which the server rejected the session, or zero
	DuringTransaction bool         // the connection was lost during this message's transaction
	// Unanswered is set if the content was sent and no reply came: the server may have
	// accepted it.
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
