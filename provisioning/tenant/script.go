package tenant

import (
	"cmp"
	_ "embed" // the parts of the scripts
	"encoding/base64"
	"errors"
	"strings"
	"unicode"

	"sealpost/provisioning/settings"
)

// The parts of which scripts are made. What stands between percent signs is
// filled in.
var (
	//go:embed powershell/register.ps1
	partRegister string
	//go:embed powershell/entra.ps1
	partEntra string
	//go:embed powershell/certificate.ps1
	partCertificate string
	//go:embed powershell/secret.ps1
	partSecret string
	//go:embed powershell/role.ps1
	partRole string
	//go:embed powershell/device.ps1
	partDevice string
	//go:embed powershell/exchange.ps1
	partExchange string
	//go:embed powershell/everyone.ps1
	partEveryone string
	//go:embed powershell/principal.ps1
	partPrincipal string
	//go:embed powershell/smtpauth.ps1
	partSMTPAUTH string
	//go:embed powershell/sendas.ps1
	partSendAs string
	//go:embed powershell/done.ps1
	partDone string
	//go:embed powershell/connector.ps1
	partConnector string
)

// ErrOther is returned for a site whose token issuer is not Entra ID.
var ErrOther = errors.New("upstream.oauth.token_url names an issuer that is not Entra ID, which no PowerShell sets up: its own documentation says how an application is registered")

// ErrNoName is returned for a connector without a certificate of its domain.
var ErrNoName = errors.New("this box has no client certificate with a name in an accepted domain, so no connector can match it: import one, or make a request, first")

// Site is what a tenant needs to know about a site.
type Site struct {
	Settings settings.Settings
	// Certificate is the one whose key signs for tokens, in DER; nil where
	// another grant is used.
	Certificate []byte
	// ConnectorName is the name of the client certificate by which the
	// connector knows the box; empty where there is none.
	ConnectorName string
	// Steps are those that follow on the box, in the wording of the front end that prints the
	// script.
	Steps Steps
}

// Steps say how a person does on the box what a script cannot.
type Steps struct {
	Secret string // enter the client secret
	Verify string // look whether all that a mailbox needs is there
	Check  string // look whether all that a connector needs is there
}

// Register returns the PowerShell that registers an application for a site of
// that name, which may be empty.
func Register(site string) string { return fill(partRegister, "%NAME%", quote(displayName(site))) }

// Script returns the PowerShell that configures the tenant for the site. Every value
// is filled in, in quotes that nothing in it can end.
func (s Site) Script() (string, error) {
	if s.Settings.Upstream.Method.Traits().Mailbox {
		return s.submission()
	}
	if s.ConnectorName == "" {
		return "", ErrNoName
	}
	return fill(partConnector, "%WHAT%", s.what(), "%NAME%", s.name(), "%CERTIFICATE%", quote(s.ConnectorName), "%DONE%", done(s.Steps.Check)), nil
}

func (s Site) submission() (string, error) {
	o := s.Settings.Issuer()
	if s.Settings.Upstream.OAuth.TokenURL != "" {
		return "", ErrOther
	}
	parts := []string{fill(partEntra, "%WHAT%", s.what(), "%NAME%", s.name(), "%CLIENT%", quote(o.ClientID), "%TENANT%", quote(string(o.Tenant)))}
	switch o.Grant {
	case settings.GrantCertificate:
		parts = append(parts, fill(partCertificate, "%CERTIFICATE%", quote(base64.StdEncoding.EncodeToString(s.Certificate))), partRole)
	case settings.GrantSecret:
		parts = append(parts, fill(partSecret, "%SECRET%", clean(s.Steps.Secret)), partRole)
	case settings.GrantDevice:
		parts = append(parts, partDevice)
	}
	parts = append(parts, s.mailboxes())
	if o.Grant != settings.GrantDevice { // a person's own rights do
		parts = append(parts, partPrincipal)
	}
	parts = append(parts, partSMTPAUTH)
	to := s.Settings.Upstream.Submission
	if sender := string(s.Settings.DefaultSender()); !strings.EqualFold(to.Mailbox(sender), sender) {
		parts = append(parts, fill(partSendAs, "%SENDER%", quote(sender), "%MAILBOX%", quote(string(to.User))))
	}
	return strings.Join(append(parts, fill(partDone, "%DONE%", done(s.Steps.Verify))), ""), nil
}

// done says what comes after the script.
func done(next string) string {
	return quote("Done. Exchange Online may take an hour to heed it. Then look whether all is there: " + next)
}

// mailboxes lists those that log in.
func (s Site) mailboxes() string {
	to := s.Settings.Upstream.Submission
	named, everyone := []string{quote(string(to.User))}, ""
	for _, pattern := range to.OwnMailbox {
		if strings.HasPrefix(string(pattern), "@") {
			everyone += fill(partEveryone, "%PATTERN%", quote("*"+string(pattern)))
		} else {
			named = append(named, quote(string(pattern)))
		}
	}
	return fill(partExchange, "%MAILBOXES%", strings.Join(named, ", ")) + everyone
}

// name is that of the box's own things in the tenant. Two boxes of sites without
// a name must not replace each other's connector.
func (s Site) name() string {
	return quote(displayName(cmp.Or(s.Settings.Site.Name, s.ConnectorName)))
}

// what names the site in a comment, which only a line's end could end.
func (s Site) what() string {
	return clean(cmp.Or(s.Settings.Site.Name, "this box"))
}

// displayName is what the tenant's administrators see. New-InboundConnector takes
// 64 characters.
func displayName(site string) string {
	const most = 64
	name := []rune("Sealpost " + clean(site))
	return strings.TrimSpace(string(name[:min(len(name), most)]))
}

// fill puts values in their places, in one pass: nothing in a value is a place.
func fill(part string, pairs ...string) string { return strings.NewReplacer(pairs...).Replace(part) }

// quote is a text as PowerShell takes it word for word. PowerShell takes the
// typographic quotation marks for its own (about_Quoting_Rules), so these are
// doubled too.
func quote(text string) string {
	var quoted strings.Builder
	for _, r := range clean(text) {
		if strings.ContainsRune("'‘’‚‛", r) {
			quoted.WriteRune(r)
		}
		quoted.WriteRune(r)
	}
	return "'" + quoted.String() + "'"
}

// clean leaves out what cannot be seen, as a line's end or a mark of direction.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, text)
}
