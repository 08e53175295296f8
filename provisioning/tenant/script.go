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

// The parts of the scripts. Names between percent signs are placeholders.
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
	//go:embed powershell/domain.ps1
	partDomain string
	//go:embed powershell/rbac.ps1
	partRBAC string
	//go:embed powershell/permissions.ps1
	partPermissions string
	//go:embed powershell/smtpauth.ps1
	partSMTPAUTH string
	//go:embed powershell/sendas.ps1
	partSendAs string
	//go:embed powershell/done.ps1
	partDone string
	//go:embed powershell/connector.ps1
	partConnector string
	//go:embed powershell/undo_submission.ps1
	partUndoSubmission string
	//go:embed powershell/undo_connector.ps1
	partUndoConnector string
)

// ErrOtherIssuer is returned for a token issuer other than Entra ID.
var ErrOtherIssuer = errors.New("upstream.oauth.token_url names an issuer other than Entra ID, so there is no PowerShell for it: register the application as the issuer's documentation says")

// errOtherCloud is returned for Entra ID of a cloud other than upstream.cloud.
var errOtherCloud = errors.New("upstream.oauth.token_url is Entra ID's of another cloud than upstream.cloud: leave token_url out, and set upstream.cloud to the tenant's cloud")

var errNoTenant = errors.New("mail leaves for the recipients' own mail hosts (upstream.method), so there is nothing to set up in a tenant")

// ErrNoName is returned for a connector without a matching certificate.
var ErrNoName = errors.New("this box has no client certificate with a name in an accepted domain, so no connector can match it: import one, or create a certificate request, first")

// Site is what a script needs to know about a site.
type Site struct {
	Settings settings.Settings
	// Certificate is the certificate for token requests, in DER; nil with another
	// grant.
	Certificate []byte
	// ConnectorName is the name in the client certificate that the connector
	// matches; empty if there is none.
	ConnectorName string
	// Steps are the steps that follow on the box, in the wording of the front end.
	Steps Steps
	// Recipe is how the application gets its right to send.
	Recipe Recipe
	// WhatIf makes a script only show what it would change.
	WhatIf bool
}

// Recipe is how an application gets the right to send from mailboxes.
type Recipe int

// The recipes.
const (
	// RecipeRBAC assigns a role in Exchange Online for these mailboxes only, without a
	// permission in Entra ID (RBAC for Applications).
	RecipeRBAC Recipe = iota
	// RecipePermissions is the older one: SMTP.SendAsApp in Entra ID, and Full Access and
	// Send As for each mailbox.
	RecipePermissions
)

// Steps say how to do on the box what a script cannot do.
type Steps struct {
	Secret string // enter the client secret
	Verify string // check the setup for submission
	Check  string // check the setup for a connector
}

// Register returns the PowerShell that registers an application for a site in a
// cloud; the name may be empty.
func Register(site string, cloud settings.Cloud) string {
	lines := ""
	if cloud != settings.CloudGlobal {
		lines = "Write-Host '[upstream]'\nWrite-Host " + quote(`cloud = "`+string(cloud)+`"`) + "\n"
	}
	return fill(partRegister, "%NAME%", quote(displayName(site)), "%GRAPH%", graph(cloud), "%CLOUD%", lines)
}

// graph and exchange are the options that connect to a cloud.
func graph(cloud settings.Cloud) string {
	return environment("Environment", cloud.Services().GraphEnvironment)
}

func exchange(cloud settings.Cloud) string {
	return environment("ExchangeEnvironmentName", cloud.Services().ExchangeEnvironment)
}

func environment(option, name string) string {
	if name == "" {
		return ""
	}
	return " -" + option + " " + name
}

// Script returns the PowerShell that sets the tenant up for the site, with all
// values filled in and safely quoted.
func (s Site) Script() (string, error) {
	return s.forEachMethod(s.connector, s.submission)
}

// forEachMethod returns the PowerShell for each delivery method, one after the other.
func (s Site) forEachMethod(connector, submission func() (string, error)) (string, error) {
	var parts []string
	for _, m := range s.Settings.Upstream.Method {
		write := connector
		switch traits := m.Traits(); {
		case traits.RecipientMX:
			continue // no tenant takes part
		case traits.Mailbox:
			write = submission
		}
		text, err := write()
		if err != nil {
			return "", err
		}
		parts = append(parts, text)
	}
	if len(parts) == 0 {
		return "", errNoTenant
	}
	return strings.Join(parts, "\n"), nil
}

func (s Site) connector() (string, error) {
	if s.ConnectorName == "" {
		return "", ErrNoName
	}
	return fill(partConnector, "%SITE%", s.label(), "%NAME%", s.name(), "%CERTIFICATE%", quote(s.ConnectorName), "%EXCHANGE%", exchange(s.Settings.Upstream.Cloud), "%WHATIF%", s.whatIf(), "%DONE%", done(s.Steps.Check)), nil
}

// Undo returns the PowerShell that removes what Script has set up, with either recipe.
func (s Site) Undo() (string, error) {
	return s.forEachMethod(s.undoConnector, s.undoSubmission)
}

func (s Site) undoConnector() (string, error) {
	if s.ConnectorName == "" && s.Settings.Site.Name == "" {
		return "", ErrNoName
	}
	return fill(partUndoConnector, "%SITE%", s.label(), "%NAME%", s.name(), "%EXCHANGE%", exchange(s.Settings.Upstream.Cloud), "%WHATIF%", s.whatIf()), nil
}

func (s Site) undoSubmission() (string, error) {
	cloud := exchange(s.Settings.Upstream.Cloud)
	if err := s.checkIssuer(); err != nil {
		return "", err
	}
	mailboxes, domains := s.mailboxes()
	return fill(partUndoSubmission, "%SITE%", s.label(), "%NAME%", s.name(), "%CLIENT%", quote(s.Settings.Issuer().ClientID), "%EXCHANGE%", cloud,
		"%MAILBOXES%", mailboxes, "%DOMAINS%", domains, "%WHATIF%", s.whatIf()), nil
}

// whatIf is the content of the options that each changing command gets.
func (s Site) whatIf() string {
	if s.WhatIf {
		return " WhatIf = $true "
	}
	return ""
}

// checkIssuer returns an error if there is no PowerShell for the token issuer.
func (s Site) checkIssuer() error {
	switch ofCloud, named := s.Settings.Entra(); {
	case ofCloud:
		return nil
	case len(named) > 0:
		return errOtherCloud
	}
	return ErrOtherIssuer
}

func (s Site) submission() (string, error) {
	o := s.Settings.Issuer()
	if err := s.checkIssuer(); err != nil {
		return "", err
	}
	scopes := "'Application.ReadWrite.All'"
	if s.Recipe == RecipePermissions {
		scopes += ", 'AppRoleAssignment.ReadWrite.All'"
	}
	parts := []string{fill(partEntra, "%SCOPES%", scopes, "%WHATIF%", s.whatIf(), "%SITE%", s.label(), "%NAME%", s.name(), "%CLIENT%", quote(o.ClientID), "%TENANT%", quote(string(o.Tenant)), "%GRAPH%", graph(s.Settings.Upstream.Cloud))}
	switch o.Grant {
	case settings.GrantCertificate:
		parts = append(parts, fill(partCertificate, "%CERTIFICATE%", quote(base64.StdEncoding.EncodeToString(s.Certificate))))
	case settings.GrantSecret:
		parts = append(parts, fill(partSecret, "%SECRET%", clean(s.Steps.Secret)))
	case settings.GrantDevice:
		parts = append(parts, partDevice)
	}
	byApplication := o.Grant != settings.GrantDevice // with a sign-in, the person's permissions apply
	if byApplication && s.Recipe == RecipePermissions {
		parts = append(parts, partRole)
	}
	mailboxes, domains := s.mailboxes()
	parts = append(parts, fill(partExchange, "%MAILBOXES%", mailboxes, "%EXCHANGE%", exchange(s.Settings.Upstream.Cloud)), domains)
	switch {
	case byApplication && s.Recipe == RecipePermissions:
		parts = append(parts, partPermissions)
	case byApplication:
		parts = append(parts, partRBAC)
	}
	parts = append(parts, partSMTPAUTH)
	submission := s.Settings.Upstream.Submission
	if sender := string(s.Settings.DefaultSender()); !strings.EqualFold(submission.Mailbox(sender), sender) {
		parts = append(parts, fill(partSendAs, "%SENDER%", quote(sender), "%MAILBOX%", quote(string(submission.User))))
	}
	return strings.Join(append(parts, fill(partDone, "%DONE%", done(s.Steps.Verify))), ""), nil
}

// done returns the text at the end of a script.
func done(next string) string {
	return quote("Done. It can take up to two hours to take effect in Exchange Online. Then verify it: " + next)
}

// mailboxes returns the list of the mailboxes that log in, and the part that adds those of
// whole domains.
func (s Site) mailboxes() (list, domains string) {
	submission := s.Settings.Upstream.Submission
	named := []string{quote(string(submission.User))}
	for _, pattern := range submission.OwnMailbox {
		if strings.HasPrefix(string(pattern), "@") {
			domains += fill(partDomain, "%PATTERN%", quote("*"+string(pattern)))
		} else {
			named = append(named, quote(string(pattern)))
		}
	}
	return strings.Join(named, ", "), domains
}

// name is the display name of the objects in the tenant. Two boxes without a site
// name must not replace each other's connector.
func (s Site) name() string {
	return quote(displayName(cmp.Or(s.Settings.Site.Name, s.ConnectorName)))
}

// label is the site's name for a comment, without line breaks.
func (s Site) label() string {
	return clean(cmp.Or(s.Settings.Site.Name, "this box"))
}

// displayName is the name that administrators see. New-InboundConnector accepts
// 64 characters.
func displayName(site string) string {
	const maxLength = 64
	name := []rune("Sealpost " + clean(site))
	return strings.TrimSpace(string(name[:min(len(name), maxLength)]))
}

// fill replaces placeholders in one pass, so that values are not expanded.
func fill(part string, pairs ...string) string { return strings.NewReplacer(pairs...).Replace(part) }

// quote returns a verbatim PowerShell string. PowerShell also treats typographic
// quotation marks as quotes (about_Quoting_Rules), so these are doubled too.
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

// clean removes invisible characters, such as line breaks.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, text)
}
