package envelope

import (
	"slices"
	"strings"
)

// DSN holds what a client requested about delivery status notifications (RFC 3461).
// The zero value means nothing.
type DSN struct {
	Return Return
	ID     string // envelope identifier, in xtext
	// Recipients are the parameters of Envelope.Recipients, in the same order. It ends
	// with the last recipient that has any.
	Recipients []RecipientDSN
}

// Return is how much of the message a notification of failure returns (RFC 3461
// section 4.3); empty if the client did not say.
type Return string

// The values of Return.
const (
	ReturnFull   Return = "FULL" // the whole message
	ReturnHeader Return = "HDRS"
)

// RecipientDSN holds the parameters of one recipient.
type RecipientDSN struct {
	Notify   Notify
	Original string // original recipient, as address type, ";" and address in xtext
}

// Notify is the set of events that the sender is to be notified of (RFC 3461 section
// 4.1). The empty set means that the client did not say.
type Notify uint8

// The events. NotifyNever stands alone.
const (
	NotifyNever Notify = 1 << iota
	NotifySuccess
	NotifyFailure
	NotifyDelay
)

// events are the names of the events in RFC 3461, in the order of their bits.
var events = []string{"NEVER", "SUCCESS", "FAILURE", "DELAY"}

// EventNamed returns the event of that name, in upper or lower case, or the empty set.
func EventNamed(name string) Notify {
	for i, event := range events {
		if strings.EqualFold(name, event) {
			return 1 << i
		}
	}
	return 0
}

// Of reports whether the sender is to be notified of the event. A client that does
// not say wants to know of failure and delay.
func (n Notify) Of(event Notify) bool {
	return n&event != 0 || n == 0 && event != NotifySuccess
}

// WithoutSuccess returns the events but success. If nothing else was asked for, it
// returns NotifyNever, because the empty set would ask for more.
func (n Notify) WithoutSuccess() Notify {
	if n == NotifySuccess {
		return NotifyNever
	}
	return n &^ NotifySuccess
}

// String returns the set as in RCPT.
func (n Notify) String() string {
	var names []string
	for i, name := range events {
		if n&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}

// Of returns the parameters of the i-th recipient.
func (d DSN) Of(i int) RecipientDSN {
	if i >= len(d.Recipients) {
		return RecipientDSN{}
	}
	return d.Recipients[i]
}

// Set sets the parameters of the i-th recipient.
func (d *DSN) Set(i int, parameters RecipientDSN) {
	if parameters == (RecipientDSN{}) {
		return
	}
	for len(d.Recipients) <= i {
		d.Recipients = append(d.Recipients, RecipientDSN{})
	}
	d.Recipients[i] = parameters
}

// WithoutSuccess returns the parameters without notifications of success.
func (d DSN) WithoutSuccess() DSN {
	d.Recipients = slices.Clone(d.Recipients)
	for i := range d.Recipients {
		d.Recipients[i].Notify = d.Recipients[i].Notify.WithoutSuccess()
	}
	return d
}

// To returns the envelope for the recipients at indexes alone.
func (e Envelope) To(indexes []int) Envelope {
	all := e
	e.Recipients, e.DSN.Recipients = nil, nil
	for n, i := range indexes {
		e.Recipients = append(e.Recipients, all.Recipients[i])
		e.DSN.Set(n, all.DSN.Of(i))
	}
	return e
}

// DecodeXtext decodes xtext (RFC 3461 section 4). It returns false if s is not xtext,
// or if the text is blank or not printable ASCII: a notification could not hold it.
func DecodeXtext(s string) (text string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '+' {
			if i+2 >= len(s) {
				return "", false
			}
			high, low := strings.IndexByte(hexDigits, s[i+1]), strings.IndexByte(hexDigits, s[i+2])
			if high < 0 || low < 0 {
				return "", false
			}
			c, i = byte(high<<4|low), i+2
		} else if c == '=' || c == ' ' {
			return "", false
		}
		if c < ' ' || c > '~' {
			return "", false
		}
		b.WriteByte(c)
	}
	return b.String(), strings.TrimSpace(b.String()) != ""
}

const hexDigits = "0123456789ABCDEF"
