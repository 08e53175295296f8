// Package tenant knows what the Microsoft 365 tenant needs to know about a site, as
// PowerShell, and judges by what was seen from the box which step of it is
// missing.
//
// It is pure: it does no I/O and reads no clock. It must not know how a token
// is asked for or how a mail server is reached; what they said is its caller's
// to hand over.
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

// Token is what an access token says of itself.
type Token struct {
	Opaque   bool // it says nothing
	Audience []string
	Roles    []string // what an application may do
	Scopes   []string // delegated permissions
	AppID    string
	Object   string // the enterprise application's object ID, or the user's
	User     string // the signed-in user
}

// Answer is what a mail server said.
type Answer struct {
	Code   int
	Status string // by RFC 3463, such as "5.7.3"
	Text   string // the whole answer
	Words  string // what it is known to mean; empty where it is not known
}

func ok(format string, args ...any) preflight.Finding {
	return preflight.Finding{Level: certificate.OK, Words: fmt.Sprintf(format, args...)}
}

func problem(format string, args ...any) preflight.Finding {
	return preflight.Finding{Level: certificate.Problem, Words: fmt.Sprintf(format, args...)}
}

// exchangeOnline are the names by which a token is for Exchange Online.
var exchangeOnline = []string{
	"https://outlook.office365.com", "https://outlook.office.com", "00000002-0000-0ff1-ce00-000000000000",
}

// forExchange reports whether the settings ask for a token for Exchange Online.
func (s Site) forExchange() bool {
	return slices.ContainsFunc(s.Settings.Issuer().Scopes, func(scope string) bool {
		return strings.HasPrefix(scope, exchangeOnline[0]+"/") || strings.HasPrefix(scope, exchangeOnline[1]+"/")
	})
}

// unjudged says why a token is accepted unchecked; it is empty if the token can
// be judged.
func (s Site) unjudged(t Token) string {
	switch {
	case !s.forExchange():
		return "not judged: the scopes are another service's than Exchange Online"
	case t.Opaque:
		return "not judged: the token does not say"
	}
	return ""
}

// Audience judges whom the token is for.
func (s Site) Audience(t Token) preflight.Finding {
	if why := s.unjudged(t); why != "" {
		return ok("%s", why)
	}
	for _, audience := range t.Audience {
		if slices.Contains(exchangeOnline, strings.TrimSuffix(audience, "/")) {
			return ok("the token is for Exchange Online (%s)", clean(audience))
		}
	}
	return problem("the token is for %s, not for Exchange Online: leave upstream.oauth.scopes out of the settings, or set it to [\"%s/.default\"]",
		list(t.Audience), exchangeOnline[0])
}

// Permission judges what the token allows.
func (s Site) Permission(t Token) preflight.Finding {
	if why := s.unjudged(t); why != "" {
		return ok("%s", why)
	}
	if s.Settings.Upstream.OAuth.Grant == settings.GrantDevice {
		const scope = "SMTP.Send"
		// Entra ID leaves out of a scope whose it is; others do not.
		if slices.ContainsFunc(t.Scopes, func(has string) bool { return has == scope || strings.HasSuffix(has, "/"+scope) }) {
			return ok("the token has the scope %s, for %s", scope, orElse(clean(t.User), "who signed in"))
		}
		return problem("the token has the scopes %s and not %s: leave upstream.oauth.scopes out of the settings", list(t.Scopes), scope).Coded(fault.TokenScope)
	}
	const role = "SMTP.SendAsApp"
	if slices.Contains(t.Roles, role) {
		return ok("the token has the role %s", role)
	}
	return problem("the token has the roles %s and not %s: add that application permission of Office 365 Exchange Online to the app registration and grant admin consent", list(t.Roles), role).Coded(fault.TokenRole)
}

// Login judges a refused login to a mailbox.
func (s Site) Login(t Token, mailbox string, a Answer) preflight.Finding {
	const badCredentials = 535
	refused := "the login of " + clean(mailbox) + " was refused (" + clean(a.Text) + "): "
	device := s.Settings.Upstream.OAuth.Grant == settings.GrantDevice
	switch {
	case a.Code == badCredentials && strings.Contains(a.Text, "SmtpClientAuthentication is disabled"):
		return problem("%sSMTP AUTH is off for the mailbox or the tenant: Set-CASMailbox -Identity %s -SmtpClientAuthenticationDisabled $false", refused, quote(mailbox))
	case a.Code/100 == 4:
		return problem("%s%s", refused, orElse(a.Words, "wait, and try again"))
	case a.Code != badCredentials || a.Status != "5.7.3" || !s.forExchange():
		return problem("%s%s", refused, orElse(a.Words, "look the answer up, and check the host and the mailbox in upstream.submission"))
	case device && !strings.EqualFold(t.User, mailbox) && !t.Opaque:
		return problem("%s%s signed in: give that account Full Access to the mailbox", refused, orElse(clean(t.User), "another account")).Coded(fault.SignInOther)
	case device:
		return problem("%scheck that the mailbox is licensed and not blocked", refused).Coded(fault.SignInRefused)
	}
	object := "ID"
	where := "; ID is the Object ID under Enterprise applications"
	if t.Object != "" {
		object, where = quote(t.Object), ""
	}
	return problem("%sExchange Online does not know the application, or it has no right to the mailbox: "+
		"New-ServicePrincipal -AppId %s -ObjectId %s -DisplayName 'Sealpost'; Add-MailboxPermission -Identity %s -User %[3]s -AccessRights FullAccess%[5]s; then wait up to an hour",
		refused, quote(s.Settings.Upstream.OAuth.ClientID), object, quote(mailbox), where)
}

// list names all, or says that there are none.
func list(all []string) string {
	const some = 5
	if len(all) == 0 {
		return "(none)"
	}
	return clean(strings.Join(all[:min(some, len(all))], ", "))
}

func orElse(words, other string) string {
	if words == "" {
		return other
	}
	return words
}
