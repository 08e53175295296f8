package console

import (
	"context"
	"strings"

	"sealpost/provisioning/candidate"
	"sealpost/provisioning/settings"
)

// submits reports whether the way out is submission.
func (u *setup) submits() bool {
	return settings.Method(u.draft.get("upstream.method")).Traits().Mailbox
}

// loginMailbox is the mailbox that logs in, if one does.
func (u *setup) loginMailbox() string {
	if !u.submits() {
		return ""
	}
	return u.draft.get("upstream.submission.user")
}

// stepByStep are the questions of a first start, as far as is known which.
func (u *setup) stepByStep() []step {
	steps := []step{u.site, u.network, u.domains, u.method}
	if u.submits() {
		steps = append(steps, u.mailbox, u.tenant, u.client, u.grant)
	} else {
		steps = append(steps, u.host, u.chooseCertificate)
	}
	return append(steps, u.sender, u.alert, u.pin, u.apply)
}

// byPaste are the questions that a pasted sealpost.toml leaves open.
func (u *setup) byPaste() []step {
	steps := []step{u.pasteSettings}
	switch {
	case !u.submits() || u.draft.get("upstream.oauth.key") == string(settings.KeyConnector):
		steps = append(steps, u.chooseCertificate)
	case u.draft.get("upstream.oauth.grant") == string(settings.GrantSecret):
		steps = append(steps, u.clientSecret)
	}
	return append(steps, u.pin, u.apply)
}

func (u *setup) clientSecret(ctx context.Context) (err error) {
	u.t.Print("\n")
	u.candidate.ClientSecret, err = u.askClientSecret(ctx)
	return err
}

func (u *setup) mailbox(ctx context.Context) error {
	const key = "upstream.submission.user"
	u.forgetCertificate()
	u.t.Print("\n")
	u.t.Say("The box logs in to one mailbox of the tenant, and all mail leaves through it.")
	return u.ask(ctx, question{"Mailbox that logs in", u.draft.get(key), func(a string) error { return u.draft.put(key, a) }})
}

func (u *setup) tenant(ctx context.Context) error {
	const key = "upstream.oauth.tenant"
	first, _, _ := strings.Cut(u.draft.get("senders.accepted_domains"), ",")
	return u.ask(ctx, question{"Tenant, by a domain or its ID", orElse(u.draft.get(key), first), func(tenant string) error {
		if tenant == first {
			tenant = "" // the default
		}
		return u.draft.put(key, tenant)
	}})
}

func (u *setup) client(ctx context.Context) error {
	const key = "upstream.oauth.client_id"
	u.t.Print("\n")
	u.t.Say("Entra ID knows the box by an app registration. Make one in the Entra admin center under App registrations; its overview page shows the ID.")
	return u.ask(ctx, question{"Application (client) ID", u.draft.get(key), func(id string) error { return u.draft.put(key, id) }})
}

// grant asks what the box shows for an access token.
func (u *setup) grant(ctx context.Context) error {
	const key = "upstream.oauth.grant"
	u.t.Print("\n")
	u.t.Say("What the box shows to Entra ID when it asks for an access token:")
	return u.choose(ctx, "Grant", "1", []choice{
		{"a signature of a key in its TPM", func(context.Context) error {
			u.candidate.ClientSecret = ""
			return u.draft.put(key, "")
		}},
		{"the application's client secret", func(ctx context.Context) error {
			if err := u.draft.put(key, string(settings.GrantSecret)); err != nil {
				return err
			}
			secret, err := u.askClientSecret(ctx)
			u.candidate.ClientSecret = secret
			return err
		}},
		{"a person's sign-in by device code", func(context.Context) error {
			u.candidate.ClientSecret = ""
			return u.draft.put(key, string(settings.GrantDevice))
		}},
	})
}

// askClientSecret asks without showing what is typed; it may be nothing.
func (s *session) askClientSecret(ctx context.Context) (candidate.Password, error) {
	s.t.Print("Client secret (its value, not its ID), not shown [none for now]: ")
	text, err := s.t.Secret(ctx)
	return candidate.Password(strings.TrimSpace(text)), err
}

// wayOut is the row of the summary about how mail leaves, and the one about
// what the box shows for it.
func (u *setup) wayOut() (way, shown [2]string) {
	d := u.draft
	if !u.submits() {
		shown := "none for now"
		switch {
		case u.candidate.PFX != nil:
			shown = "the PFX that you pasted"
		case u.candidate.PEM != nil:
			shown = "the answer to the request"
		}
		return [2]string{"way out", "connector at " + orElse(d.get("upstream.connector.host"), "the MX of the first domain")}, [2]string{"certificate", shown}
	}
	token := "a key in the TPM"
	switch settings.Grant(d.get("upstream.oauth.grant")) {
	case settings.GrantSecret:
		token = "a client secret, to be typed later: in the menu, under tenant"
		if u.candidate.ClientSecret != "" {
			token = "the client secret that you typed"
		}
	case settings.GrantDevice:
		token = "a sign-in, which comes next"
	}
	return [2]string{"way out", "submission as " + d.get("upstream.submission.user")}, [2]string{"token by", token}
}

// tellTenant leads through what the Microsoft side needs before mail can leave.
func (u *setup) tellTenant(ctx context.Context) error {
	if !u.submits() {
		return nil
	}
	u.t.Print("\n")
	u.t.Say("The tenant must be told of this box: by PowerShell that an administrator runs. You find it in the menu too, under tenant.")
	err := u.choose(ctx, "PowerShell", "1", []choice{
		{"print it", u.printScript},
		{"go on without", func(context.Context) error { return nil }},
	})
	if err == nil && settings.Grant(u.draft.get("upstream.oauth.grant")) == settings.GrantDevice {
		err = u.signIn(ctx)
	}
	return err
}
