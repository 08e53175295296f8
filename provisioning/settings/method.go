package settings

import (
	"cmp"
	"slices"
	"strings"
)

// Method is a delivery method: how mail leaves.
type Method string

// The methods of this release.
const (
	MethodConnector  Method = "connector"  // an inbound connector, on a client certificate
	MethodSubmission Method = "submission" // a mailbox, on an access token
	MethodDirect     Method = "direct"     // the mail hosts of each recipient's domain
)

// Traits are the properties of a delivery method. Other code asks for a trait,
// not for the method, so that each method is described in one place.
type Traits struct {
	// Mailbox reports whether mail leaves through a mailbox that logs in with an
	// access token (RFC 6409, RFC 7628). Its address and domain are the defaults
	// of the senders section.
	Mailbox bool
	// ClientCertificate reports whether a connector of the tenant identifies the box
	// by its client certificate, and that the mail host is by default the MX of
	// an accepted domain.
	ClientCertificate bool
	// RecipientMX reports whether mail goes to the mail hosts of each recipient's domain
	// (RFC 5321 section 5).
	RecipientMX bool
	// ConnectionsPerAccount is the upstream's limit of connections for each
	// account; 0 if there are no accounts.
	ConnectionsPerAccount int
	// limits are the defaults of upstream.connections, messages_per_minute and
	// recipients_per_day; zero for those of every method.
	limits struct{ connections, messagesPerMinute, recipientsPerDay int }
	// sections are the settings sections that only this method reads.
	sections []string
}

// methods are the delivery methods with their traits.
var methods = map[Method]Traits{
	MethodConnector: {
		ClientCertificate: true,
		sections:          []string{"upstream.connector"},
	},
	MethodSubmission: {
		Mailbox:               true,
		ConnectionsPerAccount: 3, // Exchange Online's limit for each mailbox
		limits:                struct{ connections, messagesPerMinute, recipientsPerDay int }{3, 30, 10000},
		sections:              []string{"upstream.submission", "upstream.oauth"},
	},
	MethodDirect: {
		RecipientMX:           true,
		ConnectionsPerAccount: 2, // for each domain: receivers count the connections of a sender
		limits:                struct{ connections, messagesPerMinute, recipientsPerDay int }{10, 0, 0},
		sections:              []string{"upstream.direct"},
	},
}

// Traits returns the traits of the method; the zero value if it is unknown.
func (m Method) Traits() Traits { return methods[m] }

// Methods are delivery methods in the order of preference: the next one takes over
// while those before it accept no mail. One alone may be written without brackets.
type Methods []Method

// String lists the methods.
func (ms Methods) String() string {
	names := make([]string, len(ms))
	for i, m := range ms {
		names[i] = string(m)
	}
	return strings.Join(names, ", ")
}

// SplitMethods returns the methods in a list as String writes it, known or not.
func SplitMethods(list string) Methods {
	var ms Methods
	for _, name := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' }) {
		ms = append(ms, Method(name))
	}
	return ms
}

// Traits returns what at least one of the methods has. Limits belong to one method
// and are left out.
func (ms Methods) Traits() Traits {
	var all Traits
	for _, m := range ms {
		t := m.Traits()
		all.Mailbox = all.Mailbox || t.Mailbox
		all.ClientCertificate = all.ClientCertificate || t.ClientCertificate
		all.RecipientMX = all.RecipientMX || t.RecipientMX
		all.sections = append(all.sections, t.sections...)
	}
	return all
}

// reads reports whether one of the methods reads a section.
func (ms Methods) reads(section string) bool {
	for m, traits := range methods {
		if slices.Contains(traits.sections, section) {
			return slices.Contains(ms, m)
		}
	}
	return true
}

// UpstreamLimits are the limits of one delivery method; 0 means none.
type UpstreamLimits struct {
	Connections           int // at once, in all
	ConnectionsPerAccount int
	MessagesPerMinute     int // for each account
	RecipientsPerDay      int // in 24 hours, for each account
}

// LimitsOf returns the limits of one of the methods. With several, a limit that is set
// applies to each, and otherwise each has its own default.
func (u Upstream) LimitsOf(m Method) UpstreamLimits {
	t := m.Traits()
	l := UpstreamLimits{u.Connections, t.ConnectionsPerAccount, u.MessagesPerMinute, u.RecipientsPerDay}
	if len(u.Method) > 1 {
		l.MessagesPerMinute = cmp.Or(l.MessagesPerMinute, t.limits.messagesPerMinute)
		l.RecipientsPerDay = cmp.Or(l.RecipientsPerDay, t.limits.recipientsPerDay)
	}
	return l
}

// UnmarshalText accepts the methods of this release.
func (m *Method) UnmarshalText(text []byte) error {
	return choose(m, text, "a delivery method", MethodConnector, MethodSubmission, MethodDirect)
}
