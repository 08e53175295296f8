package settings

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Submission is the SMTP submission server and the mailbox that logs in.
type Submission struct {
	// Host is a name or an address. Default: that of the cloud, such as
	// "smtp.office365.com".
	Host Host `toml:"host"`
	// Port is its TCP port; on 465 TLS comes before the greeting (RFC 8314,
	// 3.3), on any other it begins with STARTTLS. Default: 587.
	Port int `toml:"port"`
	// User is the mailbox that logs in. Required with the method "submission".
	User Address `toml:"user"`
	// OwnMailbox lists the senders that log in to their own mailbox. Default:
	// none.
	OwnMailbox []SenderPattern `toml:"own_mailbox"`
	// SendAs is what happens to a message whose sender the mailbox may not use.
	// Default: "bounce".
	SendAs SendAs `toml:"send_as"`
	Roots
}

// Mailbox returns the mailbox that logs in for a sender; an empty sender is the
// null reverse-path.
func (s Submission) Mailbox(sender string) string {
	for _, pattern := range s.OwnMailbox {
		if pattern.matches(sender) {
			return strings.ToLower(sender) // one mailbox, however it is spelt
		}
	}
	return string(s.User)
}

// domains returns the domains of the mailboxes.
func (s Submission) domains() []Domain {
	if s.User == "" {
		return nil
	}
	all := []Domain{s.User.Domain()}
	for _, pattern := range s.OwnMailbox {
		if d := Address(pattern).Domain(); !slices.Contains(all, d) {
			all = append(all, d)
		}
	}
	return all
}

// OAuth says how the box gets the access token to log in with.
type OAuth struct {
	// Tenant is the Microsoft 365 tenant: one of its domains, or its ID.
	// Default: the first of [Settings.AcceptedDomains].
	Tenant Tenant `toml:"tenant"`
	// ClientID is the application's client ID. Required with the method
	// "submission".
	ClientID string `toml:"client_id"`
	// Grant is how the box gets a token. Default: "certificate".
	Grant Grant `toml:"grant"`
	// Key signs the assertion for the grant "certificate". Default: "own".
	Key SigningKey `toml:"key"`
	// TokenURL is the token endpoint (RFC 6749, 3.2). Default: empty, meaning
	// Entra ID's for the tenant; see [Settings.Issuer].
	TokenURL URL `toml:"token_url"`
	// DeviceURL is the device authorization endpoint (RFC 8628, 3.1). Default:
	// empty, meaning Entra ID's for the tenant.
	DeviceURL URL `toml:"device_url"`
	// Scopes are the scopes of the token. Default: empty, meaning those that
	// Exchange Online requires for the grant.
	Scopes []string `toml:"scopes"`
	// Audience is the audience of a signed assertion (RFC 7523, 3). Default:
	// empty, meaning the token endpoint.
	Audience URL `toml:"audience"`
	// Algorithm signs the assertion. Default: "PS256".
	Algorithm Algorithm `toml:"algorithm"`
	Roots
}

// Issuer returns upstream.oauth with the values of the cloud's Entra ID and Exchange
// Online for what it omits.
func (s Settings) Issuer() OAuth {
	o := s.Upstream.OAuth
	if domains := s.AcceptedDomains(); o.Tenant == "" && len(domains) > 0 {
		o.Tenant = Tenant(domains[0])
	}
	cloud := s.Upstream.Cloud.Services()
	entra := "https://" + cloud.Authority + "/"
	if o.TokenURL == "" {
		o.TokenURL = URL(entra + string(o.Tenant) + "/oauth2/v2.0/token")
		if o.DeviceURL == "" {
			o.DeviceURL = URL(entra + string(o.Tenant) + "/oauth2/v2.0/devicecode")
		}
	}
	if o.Audience == "" {
		o.Audience = o.TokenURL
	}
	if len(o.Scopes) == 0 {
		o.Scopes = []string{cloud.Exchange + "/.default"}
		if o.Grant == GrantDevice {
			o.Scopes = []string{cloud.SignIn + "/SMTP.Send", "offline_access"}
		}
	}
	return o
}

// AcceptedDomains returns senders.accepted_domains; with the method "submission"
// the default is the mailboxes' domains.
func (s Settings) AcceptedDomains() []Domain {
	if len(s.Senders.AcceptedDomains) == 0 && s.Upstream.Method.Traits().Mailbox {
		return s.Upstream.Submission.domains()
	}
	return s.Senders.AcceptedDomains
}

// DefaultSender returns senders.default; with the method "submission" the default
// is the mailbox that logs in.
func (s Settings) DefaultSender() Address {
	if s.Senders.Default == "" && s.Upstream.Method.Traits().Mailbox {
		return s.Upstream.Submission.User
	}
	return s.Senders.Default
}

// checkSubmission checks what only the method "submission" needs.
func (s Settings) checkSubmission(fault func(key, format string, args ...any)) {
	if p := s.Upstream.Submission.Port; p < 1 || p > 65535 {
		fault("upstream.submission.port", "is %d: write a port from 1 to 65535, usually 587", p)
	}
	if !s.Upstream.Method.Traits().Mailbox {
		return
	}
	if s.Upstream.Submission.Host == "" {
		fault("upstream.submission.host", "is empty: leave it out for %s, or name the host", s.Upstream.Cloud.Services().Submission)
	}
	if s.Upstream.Submission.User == "" {
		fault("upstream.submission.user", "is empty: name the mailbox that logs in, like \"printer@contoso.com\"")
	}
	o := s.Upstream.OAuth
	ofEntra := o.TokenURL == ""
	switch {
	case o.ClientID == "":
		fault("upstream.oauth.client_id", "is empty: copy the Application (client) ID from the overview page of the app registration")
	case ofEntra && !isGUID(o.ClientID):
		fault("upstream.oauth.client_id", "is not an ID of Entra ID: copy the Application (client) ID from the overview page of the app registration")
	}
	if o.Grant == GrantDevice && s.Issuer().DeviceURL == "" {
		fault("upstream.oauth.device_url", "is empty: with a token_url of your own, name the device authorization endpoint too")
	}
}

// SenderPattern is a mail address, or all addresses of a domain, written as
// "@contoso.com". Its domain is in lower case.
type SenderPattern string

// UnmarshalText checks the address or the domain.
func (p *SenderPattern) UnmarshalText(text []byte) error {
	if domain, isDomain := strings.CutPrefix(string(text), "@"); isDomain {
		var d Domain
		if err := d.UnmarshalText([]byte(domain)); err != nil {
			return fmt.Errorf("%q is not a domain: write it like \"@contoso.com\"", text)
		}
		*p = SenderPattern("@" + string(d))
		return nil
	}
	var a Address
	if err := a.UnmarshalText(text); err != nil || a == "" {
		return fmt.Errorf("%q is not a sender: write it like \"scanner@contoso.com\", or \"@contoso.com\" for a whole domain", text)
	}
	*p = SenderPattern(a)
	return nil
}

func (p SenderPattern) matches(sender string) bool {
	if !strings.HasPrefix(string(p), "@") {
		return strings.EqualFold(sender, string(p))
	}
	at := strings.LastIndexByte(sender, '@')
	return at > 0 && strings.EqualFold(sender[at:], string(p))
}

// Tenant is a domain in lower case, or a GUID; empty for the default.
type Tenant string

// UnmarshalText checks the domain or the GUID.
func (t *Tenant) UnmarshalText(text []byte) error {
	name := strings.ToLower(string(text))
	if name != "" && !isGUID(name) && new(Domain).UnmarshalText([]byte(name)) != nil {
		return fmt.Errorf("%q is not a tenant: write one of its domains, like \"contoso.com\", or its ID as the Entra admin center shows it", text)
	}
	*t = Tenant(name)
	return nil
}

// isGUID reports whether text has the form 8-4-4-4-12 of hexadecimal digits.
func isGUID(text string) bool {
	if len(text) != 36 {
		return false
	}
	for i, c := range []byte(strings.ToLower(text)) {
		if dash := i == 8 || i == 13 || i == 18 || i == 23; dash != (c == '-') ||
			!dash && strings.IndexByte("0123456789abcdef", c) < 0 {
			return false
		}
	}
	return true
}

// URL is the address of an HTTPS endpoint; empty for the default.
type URL string

// Port returns the TCP port of the endpoint.
func (u URL) Port() uint16 {
	const https = 443
	if parsed, err := url.Parse(string(u)); err == nil {
		if port, err := strconv.ParseUint(parsed.Port(), 10, 16); err == nil {
			return uint16(port)
		}
	}
	return https
}

// UnmarshalText rejects URLs that are not HTTPS or contain a user name.
func (u *URL) UnmarshalText(text []byte) error {
	parsed, err := url.Parse(string(text))
	if len(text) > 0 && (err != nil || parsed.Scheme != "https" || parsed.Hostname() == "" || parsed.User != nil || parsed.Fragment != "") {
		return fmt.Errorf("%q is not an HTTPS address: write it like \"https://login.contoso.com/token\"", text)
	}
	*u = URL(text)
	return nil
}
