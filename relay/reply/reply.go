// Package reply is an SMTP reply as a value: code, enhanced status code and
// text (RFC 5321 section 4.2, RFC 3463).
//
// It knows how a reply is read from an untrusted server and printed for a
// client or a person. It must not know who sent it or what follows from it.
package reply

import (
	"fmt"
	"strings"
)

// Status is an enhanced status code, class.subject.detail (RFC 3463). The zero
// Status means none.
type Status struct {
	Class, Subject, Detail int
}

// IsZero reports whether there is no enhanced status code.
func (s Status) IsZero() bool { return s == Status{} }

func (s Status) String() string {
	return fmt.Sprintf("%d.%d.%d", s.Class, s.Subject, s.Detail)
}

// Reply is one SMTP reply.
type Reply struct {
	Code   int    // 200 to 599
	Status Status // zero if none was given
	Text   string // lines separated by "\n", without codes
}

// New returns a reply; the class of the status is that of the code.
func New(code, subject, detail int, format string, args ...any) Reply {
	return Reply{
		Code:   code,
		Status: Status{Class: code / 100, Subject: subject, Detail: detail},
		Text:   fmt.Sprintf(format, args...),
	}
}

// Positive reports whether the command succeeded (2yz).
func (r Reply) Positive() bool { return r.Code/100 == 2 }

// Transient reports whether a later retry may succeed (4yz).
func (r Reply) Transient() bool { return r.Code/100 == 4 }

// Permanent reports whether the command failed permanently (5yz).
func (r Reply) Permanent() bool { return r.Code/100 == 5 }

// String returns the whole reply on one line.
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

// Error is a reply for a client as an error.
type Error struct{ Reply Reply }

func (e *Error) Error() string { return e.Reply.String() }
