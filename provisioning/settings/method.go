package settings

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
		RecipientMX: true,
		limits:      struct{ connections, messagesPerMinute, recipientsPerDay int }{10, 0, 0},
		sections:    []string{"upstream.direct"},
	},
}

// Traits returns the traits of the method; the zero value if it is unknown.
func (m Method) Traits() Traits { return methods[m] }

// reads reports whether the method reads a section.
func (m Method) reads(section string) bool {
	for other, traits := range methods {
		for _, used := range traits.sections {
			if used == section {
				return other == m
			}
		}
	}
	return true
}

// UnmarshalText accepts the methods of this release.
func (m *Method) UnmarshalText(text []byte) error {
	return choose(m, text, "a delivery method", MethodConnector, MethodSubmission, MethodDirect)
}
