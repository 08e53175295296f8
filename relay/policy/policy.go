// Package policy decides who may send, as whom, and to whom.
//
// It is pure: it knows networks, devices, users, domains and addresses, does no
// I/O and reads no clock. It must not know how a client is refused, how a user
// logs in, or how mail is delivered.
package policy

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"sealpost/relay/envelope"
	"sealpost/relay/reply"
)

// Policy is the relay policy from the settings.
type Policy struct {
	Hostname string         // of the relay, for replies
	Networks []netip.Prefix // may send
	Learning []netip.Prefix // may send too, for a while
	Logins   []netip.Prefix // may log in as a user, and then send
	Devices  []Device

	RequireTLS  []netip.Prefix // may not send in clear text
	LegacyTLS   []netip.Prefix // may use old TLS
	RequireAuth []netip.Prefix // must log in

	AcceptedDomains []string // the tenant's, in lower case; none means that every domain is
	Rewrites        []Rewrite
	DefaultSender   envelope.Address // replaces senders that cannot be used; may be empty
	Foreign         Treatment        // of a sender in another domain
	Empty           Treatment        // of the null reverse-path
	NullSender      bool             // the route relays mail with the null reverse-path
	Author          Treatment        // of an author that is not a sender of the client
	Recipients      []Pattern        // that mail may be sent to; none means everyone
}

// Treatment is what happens with a sender that cannot be used.
type Treatment string

// The treatments. The zero value is Replace if there is a sender to use instead, else
// Keep.
const (
	Replace Treatment = "replace"
	Keep    Treatment = "keep"
	Refuse  Treatment = "refuse"
)

// Rewrite replaces a sender before the other rules.
type Rewrite struct {
	From Pattern
	To   envelope.Address
}

// Device is what the settings say of one device, or of all devices of a network.
type Device struct {
	Clients    netip.Prefix // its address or network; invalid if it has a MAC
	MAC        string       // in lower case with colons
	Name       string       // for people; may be empty
	Refuse     bool
	RequireTLS bool
	LegacyTLS  bool
	Auth       Auth
	Sender     envelope.Address // replaces senders that cannot be used; may be empty
	Senders    []Pattern        // that it may use; none means those of the accepted domains
	Recipients []Pattern        // that it may send to; none means those of the policy
	Tag        string           // added to the local part of its sender; may be empty
	Limits     Limits
	// SilentAfter is the time without mail after which an alert is raised; 0 = by its
	// habit.
	SilentAfter time.Duration
}

// Auth is what a device does about SMTP AUTH (RFC 4954).
type Auth string

// The values of Auth. The zero value is that of its network.
const (
	AnyLogin      Auth = "any"      // every user name and password is accepted, as no login
	LoginRequired Auth = "required" // it must log in as a user
)

// Limits are limits of one client; zero means that of every client.
type Limits struct {
	Connections       int   // concurrent connections
	MessagesPerMinute int   // messages in a minute
	MessageSize       int64 // octets of a message
	Recipients        int   // recipients of a message
	SpoolShare        int   // percent of the spool
}

// User is a local user who has logged in.
type User struct {
	Name       string
	Password   string         // another text after each change of the password, not the password
	Clients    []netip.Prefix // addresses that it may log in from; none means that of every device
	Senders    []Pattern      // that it may use; none means those of its device
	Recipients []Pattern      // that it may send to; none means those of its device
}

// Client is who sends.
type Client struct {
	Address netip.Addr
	MAC     string // hardware address; empty if unknown
	Secure  bool   // TLS is in use
	User    *User  // nil if it has not logged in
}

// RuleLearning is the rule of a client that may send only while learn mode lasts.
const RuleLearning = "learn mode"

// Access is what a client may do before it sends anything.
type Access struct {
	Allowed bool   // it may send
	Login   bool   // it may connect, and send once it has logged in
	Rule    string // the setting that decides
	Device  Device // the zero Device if none is listed for the client

	RequireTLS, LegacyTLS, RequireAuth bool
}

// setting names a setting of the client's device.
func (a Access) setting(key string) string { return key + " of " + a.Rule }

// Verdict is the decision on one command.
type Verdict struct {
	Reply reply.Reply // that refuses it; the zero Reply if it is accepted
	Rule  string      // the settings that decide, with commas between them; empty if none had to
}

// Refused reports whether the command is refused.
func (v Verdict) Refused() bool { return v.Reply.Code != 0 }

func refuse(rule string, code, subject, detail int, format string, args ...any) Verdict {
	return Verdict{reply.New(code, subject, detail, format, args...), rule}
}

// Client returns a client that has not logged in, and of which only the address is known.
func (p *Policy) Client(address netip.Addr) Client { return Client{Address: address} }

// Access returns what a client may do.
func (p *Policy) Access(c Client) Access {
	client := c.Address.Unmap().WithZone("")
	device, rule, listed := p.device(client, c.MAC)
	a := Access{Device: device,
		RequireTLS:  device.RequireTLS || contains(p.RequireTLS, client),
		LegacyTLS:   device.LegacyTLS || contains(p.LegacyTLS, client),
		RequireAuth: device.Auth == LoginRequired || device.Auth == "" && contains(p.RequireAuth, client),
	}
	switch {
	case listed:
		a.Allowed, a.Rule = !device.Refuse, rule
	case contains(p.Networks, client):
		a.Allowed, a.Rule = true, "lan.allow"
	case contains(p.Learning, client):
		a.Allowed, a.Rule = true, RuleLearning
	case contains(p.Logins, client):
		a.Login, a.RequireAuth, a.Rule = true, true, "the addresses of a user"
	default:
		a.Rule = "lan.allow"
	}
	return a
}

// device returns what is listed for a client: by its MAC, or else by the smallest
// network.
func (p *Policy) device(client netip.Addr, mac string) (best Device, rule string, listed bool) {
	for i := range p.Devices {
		d := &p.Devices[i]
		switch {
		case mac != "" && d.MAC == mac:
			return *d, "device " + mac, true
		case !d.Clients.IsValid() || !d.Clients.Contains(client):
		case !listed || d.Clients.Bits() > best.Clients.Bits():
			best, listed = *d, true
		}
	}
	if listed {
		rule = "device " + best.Clients.String()
		if best.Clients.IsSingleIP() {
			rule = "device " + best.Clients.Addr().String()
		}
	}
	return best, rule, listed
}

// Connect decides whether a client may connect.
func (p *Policy) Connect(c Client) (Access, Verdict) {
	a, client := p.Access(c), c.Address
	switch {
	case a.Allowed, a.Login:
		return a, Verdict{Rule: a.Rule}
	case a.Device.Refuse:
		return a, refuse(a.setting("refuse"), 554, 7, 1, "%s does not relay for %s: the settings refuse this device", p.Hostname, client.Unmap())
	}
	return a, refuse(a.Rule, 554, 7, 1, "%s does not relay for %s: add its network to lan.allow", p.Hostname, client.Unmap())
}

// LogIn decides on the login of a client as a user whose password it has. It returns the
// user, or nil for a device of which every login is accepted.
func (p *Policy) LogIn(c Client, u User) (*User, Verdict) {
	a := p.Access(c)
	switch {
	case a.RequireTLS && !c.Secure:
		return nil, refuse(a.ruleFor("tls", "lan.require_tls", a.Device.RequireTLS), 538, 7, 11, "TLS is required before a login: turn on TLS or STARTTLS on the device")
	case a.Device.Auth == AnyLogin:
		return nil, Verdict{Rule: a.setting("auth")}
	case len(u.Clients) == 0 && a.Allowed, contains(u.Clients, c.Address.Unmap().WithZone("")):
		return &u, Verdict{Rule: "the users"}
	}
	return nil, refuse("the addresses of user "+u.Name, 535, 7, 8, "this user may not log in from %s: bind the user to this address too, or log in as another", c.Address.Unmap())
}

// Recipient decides whether mail may be sent to a recipient.
func (p *Policy) Recipient(c Client, recipient envelope.Address) Verdict {
	a := p.Access(c)
	var list []Pattern
	rule := ""
	switch {
	case len(a.Device.Recipients) > 0:
		list, rule = a.Device.Recipients, a.setting("recipients")
	case len(p.Recipients) > 0:
		list, rule = p.Recipients, "recipients.allow"
	}
	if len(list) > 0 && !p.reaches(list, recipient) {
		return refuse(rule, 550, 7, 1, "%s may not send to %s (%s)", c.Address.Unmap(), recipient.Path(), rule)
	}
	if u := c.User; u != nil && len(u.Recipients) > 0 && !p.reaches(u.Recipients, recipient) {
		rule = "the recipients of user " + u.Name
		return refuse(rule, 550, 7, 1, "%s may not send to %s (%s)", u.Name, recipient.Path(), rule)
	}
	return Verdict{Rule: rule}
}

// reaches reports whether a recipient is in a list. An address that some server may read
// as a route to another one never is.
func (p *Policy) reaches(list []Pattern, recipient envelope.Address) bool {
	// IMCEA begins an address that Exchange has encapsulated, such as
	// IMCEASMTP-user+40fabrikam+2Ecom.
	const encapsulated = "IMCEA"
	if local := localPart(recipient); strings.ContainsAny(local, "%!@:") || strings.HasPrefix(strings.ToUpper(local), encapsulated) {
		return false
	}
	return slices.ContainsFunc(list, func(pattern Pattern) bool {
		if pattern == Own {
			return slices.Contains(p.AcceptedDomains, recipient.Domain())
		}
		return pattern.Matches(recipient)
	})
}

// accepts reports whether a sender is in an accepted domain.
func (p *Policy) accepts(sender envelope.Address) bool {
	return len(p.AcceptedDomains) == 0 || slices.Contains(p.AcceptedDomains, sender.Domain())
}

// Pattern is an address, "@domain" for all of a domain, or Own.
type Pattern string

// Own stands for the accepted domains.
const Own Pattern = "own"

func (p Pattern) isDomain() bool { return strings.HasPrefix(string(p), "@") }

// Matches reports whether an address is meant, in any case of its letters.
func (p Pattern) Matches(a envelope.Address) bool {
	if p.isDomain() {
		return a != "" && strings.EqualFold(string(p[1:]), a.Domain())
	}
	return strings.EqualFold(string(p), string(a))
}

func matchesAny(patterns []Pattern, a envelope.Address) bool {
	return slices.ContainsFunc(patterns, func(p Pattern) bool { return p.Matches(a) })
}

func contains(networks []netip.Prefix, client netip.Addr) bool {
	return slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(client) })
}
