// Package tenant generates the PowerShell that sets a Microsoft 365 tenant up for a
// site, and finds out from tokens and server replies which step is missing.
//
// It does no I/O and reads no clock. It must not know how a token is requested or
// how a mail server is reached: its caller passes their results.
package tenant

import (
	"fmt"
	"slices"
	"strings"

	"sealpost/hal/fault"
	"sealpost/provisioning/certificate"
	"sealpost/provisioning/preflight"
	"sealpost/provisioning/settings"
)

// Token holds the claims of an access token.
type Token struct {
	Opaque   bool // the token has no readable claims
	Audience []string
	Roles    []string // application permissions
	Scopes   []string // delegated permissions
	AppID    string
	Object   string // the enterprise application's object ID, or the user's
	User     string // the signed-in user
}

// Reply is the reply of a mail server.
type Reply struct {
	Code    int
	Status  string // by RFC 3463, such as "5.7.3"
	Text    string // the complete reply
	Meaning string // its known meaning; empty if unknown
}

func ok(format string, args ...any) preflight.Finding {
	return preflight.Finding{Level: certificate.OK, Text: fmt.Sprintf(format, args...)}
}

func problem(format string, args ...any) preflight.Finding {
	return preflight.Finding{Level: certificate.Problem, Text: fmt.Sprintf(format, args...)}
}

// exchangeOnline returns the audiences of tokens for Exchange Online in the cloud.
// The application ID is the same in every cloud.
func (s Site) exchangeOnline() []string {
	cloud := s.Settings.Upstream.Cloud.Services()
	return []string{cloud.Exchange, cloud.SignIn, "00000002-0000-0ff1-ce00-000000000000"}
}

// forExchange reports whether the settings ask for a token for Exchange Online.
func (s Site) forExchange() bool {
	own := s.exchangeOnline()
	return slices.ContainsFunc(s.Settings.Issuer().Scopes, func(scope string) bool {
		return strings.HasPrefix(scope, own[0]+"/") || strings.HasPrefix(scope, own[1]+"/")
	})
}

// uncheckable returns why a token cannot be checked; empty if it can.
func (s Site) uncheckable(t Token) string {
	switch {
	case !s.forExchange():
		return "not checked: the scopes are not for Exchange Online"
	case t.Opaque:
		return "not checked: the token has no readable claims"
	}
	return ""
}

// Audience checks the audience of a token.
func (s Site) Audience(t Token) preflight.Finding {
	if why := s.uncheckable(t); why != "" {
		return ok("%s", why)
	}
	for _, audience := range t.Audience {
		if slices.Contains(s.exchangeOnline(), strings.TrimSuffix(audience, "/")) {
			return ok("the token is for Exchange Online (%s)", clean(audience))
		}
	}
	return problem("the token is for %s, not for Exchange Online: leave upstream.oauth.scopes out of the settings, or set it to [\"%s/.default\"]",
		list(t.Audience), s.exchangeOnline()[0])
}

// Permission checks the role or scope of a token.
func (s Site) Permission(t Token) preflight.Finding {
	if why := s.uncheckable(t); why != "" {
		return ok("%s", why)
	}
	if s.Settings.Upstream.OAuth.Grant == settings.GrantDevice {
		const scope = "SMTP.Send"
		// Entra ID omits the resource from a scope; other issuers do not.
		if slices.ContainsFunc(t.Scopes, func(has string) bool { return has == scope || strings.HasSuffix(has, "/"+scope) }) {
			return ok("the token has the scope %s, for %s", scope, orElse(clean(t.User), "who signed in"))
		}
		return problem("the token has the scopes %s but not %s: leave upstream.oauth.scopes out of the settings", list(t.Scopes), scope).WithCode(fault.TokenScope)
	}
	const role = "SMTP.SendAsApp"
	if slices.Contains(t.Roles, role) {
		return ok("the token has the role %s, so Exchange Online also requires permissions for the mailbox", role)
	}
	return ok("the token has no role in Entra ID: Exchange Online decides by its own (RBAC for Applications)")
}

// Login explains a rejected login to a mailbox.
func (s Site) Login(t Token, mailbox string, a Reply) preflight.Finding {
	const badCredentials = 535
	refused := "the login of " + clean(mailbox) + " was refused (" + clean(a.Text) + "): "
	device := s.Settings.Upstream.OAuth.Grant == settings.GrantDevice
	switch {
	case a.Code == badCredentials && strings.Contains(a.Text, "SmtpClientAuthentication is disabled"):
		return problem("%sSMTP AUTH is off for the mailbox or the tenant: Set-CASMailbox -Identity %s -SmtpClientAuthenticationDisabled $false", refused, quote(mailbox))
	case a.Code/100 == 4:
		return problem("%s%s", refused, orElse(a.Meaning, "wait, and try again"))
	case a.Code != badCredentials || a.Status != "5.7.3" || !s.forExchange():
		return problem("%s%s", refused, orElse(a.Meaning, "look up the reply, and check the host and the mailbox in upstream.submission"))
	case device && !strings.EqualFold(t.User, mailbox) && !t.Opaque:
		return problem("%s%s signed in: give that account Full Access to the mailbox", refused, orElse(clean(t.User), "another account")).WithCode(fault.SignInOther)
	case device:
		return problem("%scheck that the mailbox is licensed and not blocked", refused).WithCode(fault.SignInRefused)
	}
	object := "ID"
	where := "; ID is the Object ID under Enterprise applications"
	if t.Object != "" {
		object, where = quote(t.Object), ""
	}
	return problem("%sExchange Online does not know the application, or it has no right to the mailbox, or the rights are less than two hours old. "+
		"Test-ServicePrincipalAuthorization -Identity %s -Resource %s shows its rights%s",
		refused, object, quote(mailbox), where).WithCode(fault.ApplicationRefused)
}

// list joins the first values, or returns "(none)".
func list(all []string) string {
	const some = 5
	if len(all) == 0 {
		return "(none)"
	}
	return clean(strings.Join(all[:min(some, len(all))], ", "))
}

func orElse(text, fallback string) string {
	if text == "" {
		return fallback
	}
	return text
}
