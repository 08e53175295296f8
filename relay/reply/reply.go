// Package reply is the SMTP reply as a value: its code, its enhanced status
// code and its text (RFC 5321 section 4.2, RFC 3463).
//
// It knows how a reply is read from a server that may lie and how it is
// printed for a client or a person. It must not know who said it or what
// follows from it.
package reply

import (
	"fmt"
	"strings"
)

// Status is an enhanced mail system status code, class.subject.detail
// (RFC 3463). The zero Status means that none was given.
type Status struct {
	Class, Subject, Detail int
}

// IsZero tells whether no enhanced status code was given.
func (s Status) IsZero() bool { return s == Status{} }

func (s Status) String() string {
	return fmt.Sprintf("%d.%d.%d", s.Class, s.Subject, s.Detail)
}

// Reply is one SMTP reply.
type Reply struct {
	Code   int    // 200 to 599
	Status Status // zero where the server gave none
	Text   string // lines separated by "\n", codes left out
}

// New makes a reply of our own; the status takes its class from the code.
func New(code, subject, detail int, format string, args ...any) Reply {
	return Reply{
		Code:   code,
		Status: Status{Class: code / 100, Subject: subject, Detail: detail},
		Text:   fmt.Sprintf(format, args...),
	}
}

// Positive tells whether the server took what it was asked to (2yz).
func (r Reply) Positive() bool { return r.Code/100 == 2 }

// Transient tells whether asking again later may help (4yz).
func (r Reply) Transient() bool { return r.Code/100 == 4 }

// Permanent tells whether asking again in the same way is of no use (5yz).
func (r Reply) Permanent() bool { return r.Code/100 == 5 }

// String is the whole reply on one line.
func (r Reply) String() string {
	parts := []string{fmt.Sprint(r.Code)}
	if !r.Status.IsZero() {
		parts = append(parts, r.Status.String())
	}
	if r.Text != "" {
		parts = append(parts, strings.ReplaceAll(r.Text, "\n", " "))
	}
	return strings.Join(parts, " ")
}

// Error is a reply on its way to a client as an error.
type Error struct{ Reply Reply }

func (e *Error) Error() string { return e.Reply.String() }
