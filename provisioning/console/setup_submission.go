package console

import (
	"context"
	"strings"

	"sealpost/provisioning/candidate"
	"sealpost/provisioning/settings"
)

// methods returns the delivery methods so far.
func (u *setup) methods() settings.Methods {
	return settings.SplitMethods(orElse(u.draft.get("upstream.method"), string(settings.MethodConnector)))
}

func (u *setup) traits() settings.Traits { return u.methods().Traits() }

// submits reports whether submission is a delivery method.
func (u *setup) submits() bool { return u.traits().Mailbox }

// loginMailbox is the mailbox that logs in; empty if none does.
func (u *setup) loginMailbox() string {
	if !u.submits() {
		return ""
	}
	return u.draft.get("upstream.submission.user")
}

// stepByStep are the questions of a first setup; they depend on the answers so
// far.
func (u *setup) stepByStep() []step {
	steps := []step{u.site, u.network, u.domains, u.method}
	if u.likelyCloud() != settings.CloudGlobal {
		steps = append(steps, u.cloud)
	}
	if u.submits() {
		steps = append(steps, u.mailbox, u.tenant, u.client, u.grant)
	}
	if u.traits().ClientCertificate {
		steps = append(steps, u.host, u.chooseCertificate)
	}
	return append(steps, u.sender, u.alert, u.pin, u.apply)
}

// likelyCloud returns the cloud in the settings, or else that of the mail host.
func (u *setup) likelyCloud() settings.Cloud {
	found := settings.CloudGlobal
	if clouds := settings.CloudsOf(u.probed.Host); len(clouds) > 0 {
		found = clouds[0]
	}
	return settings.Cloud(orElse(u.draft.get("upstream.cloud"), string(found)))
}

// cloud asks for the cloud. It is a question only if the tenant may not be in the global
// cloud, because most technicians do not know.
func (u *setup) cloud(ctx context.Context) error {
	u.t.Print("\n")
	u.t.Say("The tenant seems to be in a national cloud of Microsoft: gcc-high, dod or china; or is it in the global one?")
	return u.ask(ctx, question{"Cloud", string(u.likelyCloud()), func(cloud string) error { return u.draft.put("upstream.cloud", cloud) }})
}

// byPaste are the questions that remain after a pasted sealpost.toml.
func (u *setup) byPaste() []step {
	steps := []step{u.pasteSettings}
	if u.traits().ClientCertificate || u.draft.get("upstream.oauth.key") == string(settings.KeyConnector) {
		steps = append(steps, u.chooseCertificate)
	}
	if u.submits() && u.draft.get("upstream.oauth.grant") == string(settings.GrantSecret) {
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
	u.t.Say("The box logs in to one mailbox of the tenant and sends all mail through it.")
	return u.ask(ctx, question{"Mailbox that logs in", u.draft.get(key), func(user string) error { return u.draft.put(key, user) }})
}

func (u *setup) tenant(ctx context.Context) error {
	const key = "upstream.oauth.tenant"
	first, _, _ := strings.Cut(u.draft.get("senders.accepted_domains"), ",")
	return u.ask(ctx, question{"Tenant (one of its domains, or its ID)", orElse(u.draft.get(key), first), func(tenant string) error {
		if tenant == first {
			tenant = "" // the default
		}
		return u.draft.put(key, tenant)
	}})
}

func (u *setup) client(ctx context.Context) error {
	const key = "upstream.oauth.client_id"
	u.t.Print("\n")
	u.t.Say("Entra ID identifies the box by an app registration. Create one in the Entra admin center under App registrations; its overview page shows the ID.")
	return u.ask(ctx, question{"Application (client) ID", u.draft.get(key), func(id string) error { return u.draft.put(key, id) }})
}

// grant asks how the box gets an access token.
func (u *setup) grant(ctx context.Context) error {
	const key = "upstream.oauth.grant"
	u.t.Print("\n")
	u.t.Say("How the box authenticates to Entra ID to get an access token:")
	return u.choose(ctx, "Grant", "1", []choice{
		{"with a key in its TPM", func(context.Context) error {
			u.candidate.ClientSecret = ""
			return u.draft.put(key, "")
		}},
		{"with the application's client secret", func(ctx context.Context) error {
			if err := u.draft.put(key, string(settings.GrantSecret)); err != nil {
				return err
			}
			secret, err := u.askClientSecret(ctx)
			u.candidate.ClientSecret = secret
			return err
		}},
		{"a person signs in with a device code", func(context.Context) error {
			u.candidate.ClientSecret = ""
			return u.draft.put(key, string(settings.GrantDevice))
		}},
	})
}

// askClientSecret asks for the client secret without echo; it may be empty.
func (s *session) askClientSecret(ctx context.Context) (candidate.Password, error) {
	var text string
	err := s.askUntilValid(ctx, func() (err error) {
		s.t.Print("Client secret (its value, not its ID), not shown [none for now]: ")
		text, err = s.t.Secret(ctx)
		return err
	})
	return candidate.Password(strings.TrimSpace(text)), err
}

// deliveryRows are the rows of the summary for the delivery methods, in the order of
// preference, and for their credentials.
func (u *setup) deliveryRows() [][2]string {
	d, credentials := u.draft, [][2]string(nil)
	var methods []string
	for _, m := range u.methods() {
		switch traits := m.Traits(); {
		case traits.Mailbox:
			methods = append(methods, "submission as "+d.get("upstream.submission.user"))
			credentials = append(credentials, [2]string{"token by", u.tokenSource()})
		case traits.RecipientMX:
			methods = append(methods, "direct, to the recipients' mail hosts")
		default:
			methods = append(methods, "connector at "+orElse(d.get("upstream.connector.host"), "the MX of the first domain"))
			credentials = append(credentials, [2]string{"certificate", u.certificateSource()})
		}
	}
	return append([][2]string{{"method", strings.Join(methods, ", then ")}}, credentials...)
}

// certificateSource says which client certificate the candidate has.
func (u *setup) certificateSource() string {
	switch {
	case u.candidate.PFX != nil:
		return "the PFX that you pasted"
	case u.candidate.PEM != nil:
		return "the certificate for the request"
	}
	return "none for now"
}

// tokenSource says how the box will get its access tokens.
func (u *setup) tokenSource() string {
	switch grant := settings.Grant(u.draft.get("upstream.oauth.grant")); {
	case grant == settings.GrantSecret && u.candidate.ClientSecret != "":
		return "the client secret that you entered"
	case grant == settings.GrantSecret:
		return "a client secret, to be entered later under tenant in the menu"
	case grant == settings.GrantDevice:
		return "a sign-in, which follows"
	}
	return "a key in the TPM"
}

// setUpTenant shows what the tenant needs before mail can be sent.
func (u *setup) setUpTenant(ctx context.Context) error {
	if !u.submits() {
		return nil
	}
	u.t.Print("\n")
	u.t.Say("The tenant must be set up for this box with PowerShell that an administrator runs. It is also in the menu, under tenant.")
	err := u.choose(ctx, "PowerShell", "1", []choice{
		{"print it", u.printScript},
		{"continue without", func(context.Context) error { return nil }},
	})
	if err == nil && settings.Grant(u.draft.get("upstream.oauth.grant")) == settings.GrantDevice {
		err = u.signIn(ctx)
	}
	return err
}
