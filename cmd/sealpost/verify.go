package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"sealpost/provisioning/certificate"
	"sealpost/provisioning/credential"
	"sealpost/provisioning/preflight"
	"sealpost/provisioning/settings"
	"sealpost/provisioning/tenant"
	"sealpost/relay/envelope"
	"sealpost/relay/journal"
	"sealpost/relay/oauth"
	"sealpost/relay/reply"
	"sealpost/relay/report"
	"sealpost/relay/upstream"
	"sealpost/relay/upstream/submission"
)

func verifyCommand(o *options) *cobra.Command {
	var to string
	c := leaf("verify", "Walk the way to the mailbox, and name the first step that is missing", 0, func(c *cobra.Command, _ []string) error {
		var recipient settings.Address
		if err := recipient.UnmarshalText([]byte(to)); err != nil {
			return &usageError{fmt.Errorf("--to: %w", err)}
		}
		return o.withBox(c, anyState, func(_ context.Context, b *box) error {
			w := &walk{box: b, site: tenant.Site{Settings: b.settings}, to: envelope.Address(recipient)}
			for finding := range preflight.Run(c.Context(), w.steps()) {
				if err := o.printLine(c.OutOrStdout(), finding); err != nil {
					return err
				}
				if finding.Level == certificate.Problem {
					return fmt.Errorf("the first step that is missing is %q", finding.Name)
				}
			}
			return nil
		})
	})
	c.Flags().StringVar(&to, "to", "", "also send a test message to this `address`")
	return c
}

// walk is the way to the mailbox as far as it was gone.
type walk struct {
	box    *box
	site   tenant.Site
	to     envelope.Address // of the test message; empty for none
	token  oauth.Token
	fault  error // why there is no token
	claims tenant.Token
}

// steps are in the order in which each needs the one before.
func (w *walk) steps() []preflight.Check {
	steps := []preflight.Check{
		{Name: "settings", Look: w.settings},
		{Name: "credential", Look: w.credential},
		{Name: "issuer", Look: w.issuer},
		{Name: "token", Look: w.issued},
		{Name: "audience", Look: func(context.Context) []preflight.Finding { return []preflight.Finding{w.site.Audience(w.claims)} }},
		{Name: "permission", Look: func(context.Context) []preflight.Finding { return []preflight.Finding{w.site.Permission(w.claims)} }},
		{Name: "login", Look: w.login},
	}
	if w.to != "" {
		steps = append(steps, preflight.Check{Name: "message", Look: w.message})
	}
	return steps
}

func passed(format string, args ...any) []preflight.Finding {
	return []preflight.Finding{{Level: certificate.OK, Words: fmt.Sprintf(format, args...)}}
}

func (w *walk) settings(context.Context) []preflight.Finding {
	s := w.box.settings
	if s.Upstream.Method != settings.MethodSubmission {
		return preflight.Problem(fmt.Errorf("upstream.method is %q: this is for %q; look with sealpost check", s.Upstream.Method, settings.MethodSubmission))
	}
	return passed("%s logs in at %s on port %d; token from %s", s.Upstream.Submission.User, s.Upstream.Submission.Host, s.Upstream.Submission.Port, s.Issuer().TokenURL)
}

// credential looks whether there is something to show for a token, and whether
// the box can use it.
func (w *walk) credential(ctx context.Context) []preflight.Finding {
	there := w.stored(ctx)
	if there[0].Level == certificate.Problem {
		return there
	}
	w.ask(ctx)
	if fault := (*oauth.Fault)(nil); errors.As(w.fault, &fault) && fault.Err != nil {
		return preflight.Problem(fault)
	}
	return there
}

// stored looks for what the settings want to be shown.
func (w *walk) stored(ctx context.Context) []preflight.Finding {
	kind, cure := credential.ClientSecret, "sealpost tenant secret"
	switch w.box.settings.Upstream.OAuth.Grant {
	case settings.GrantCertificate:
		leaf, protection, err := w.box.application(ctx)
		if err != nil {
			return preflight.Problem(err)
		}
		return passed("a certificate, %s, key %s", commonName(leaf), protection)
	case settings.GrantDevice:
		kind, cure = credential.RefreshToken, "sealpost tenant login"
	}
	secret, err := w.box.vault().Load(ctx, kind)
	clear(secret)
	if errors.Is(err, credential.ErrNone) {
		err = fmt.Errorf("this box has no %s for this application: %s", kind, cure)
	}
	if err != nil {
		return preflight.Problem(err)
	}
	return passed("a %s is stored", kind)
}

// ask asks for a token.
func (w *walk) ask(ctx context.Context) {
	name, err := hostname(w.box.settings.LAN)
	if err != nil {
		w.fault = err
		return
	}
	grant, err := w.box.grant(name)
	if err == nil {
		w.token, err = grant.Token(ctx)
	}
	w.fault = err
}

// issuer looks whether the issuer was reached: then it gave a token, or its own
// code for why not.
func (w *walk) issuer(context.Context) []preflight.Finding {
	fault := (*oauth.Fault)(nil)
	if w.fault != nil && (!errors.As(w.fault, &fault) || fault.Code == "") {
		return preflight.Problem(w.fault)
	}
	return passed("it was reached")
}

func (w *walk) issued(context.Context) []preflight.Finding {
	if w.fault != nil {
		return preflight.Problem(w.fault)
	}
	claims, err := w.token.Claims()
	w.claims = tenant.Token{Opaque: err != nil, Audience: claims.Audience, Roles: claims.Roles, Scopes: claims.Scopes,
		AppID: claims.AppID, Object: claims.Object, User: claims.User}
	return passed("granted, until %s", w.token.Expires.Format("15:04"))
}

// login goes as far as a message to the mailbox itself would, up to its
// content.
func (w *walk) login(ctx context.Context) []preflight.Finding {
	user := envelope.Address(w.box.settings.Upstream.Submission.User)
	result, err := w.deliver(ctx, envelope.Envelope{ID: "verify", Sender: user, Recipients: []envelope.Address{user}}, plainContent(""), noContent)
	if err != nil {
		return w.refused(err)
	}
	if answer := result.Answers[0]; !answer.Positive() {
		return preflight.Problem(errors.New(inWords(answer, user, result.Trustee)))
	}
	return passed("%s logged in by %s and may send (%s)", result.Connection.Account, result.Connection.Mechanism, result.Connection.TLS)
}

// message sends a whole message: only that shows whether the mailbox may send
// as the sender.
func (w *walk) message(ctx context.Context) []preflight.Finding {
	m := testMessage{hello: "verify.localhost", to: w.to, settings: w.box.settings}
	e := envelope.Envelope{ID: "verify", Sender: envelope.Address(m.from()), Recipients: []envelope.Address{w.to}}
	content := plainContent(m.text())
	e.Size = content.Size()
	result, err := w.deliver(ctx, e, content, func(answers []reply.Reply) bool { return answers[0].Positive() })
	if err != nil {
		return w.refused(err)
	}
	if answer := result.Answers[0]; !result.Taken || !answer.Positive() {
		return preflight.Problem(errors.New(inWords(answer, e.Sender, result.Trustee)))
	}
	return passed("sent to %s as %s: %s", w.to, m.from(), result.Answers[0])
}

// refused judges an attempt that did not come to an answer. Only of a login that
// was refused can be said what it takes.
func (w *walk) refused(err error) []preflight.Finding {
	fault := (*upstream.Unavailable)(nil)
	if !errors.As(err, &fault) {
		return preflight.Problem(err)
	}
	reading, known := report.Read(fault.Answer)
	if login := (*submission.LoginRefused)(nil); errors.As(err, &login) {
		answer := tenant.Answer{Code: fault.Answer.Code, Status: fault.Answer.Status.String(), Text: fault.Answer.String()}
		if known {
			answer.Words = reading.Words()
		}
		return []preflight.Finding{w.site.Login(w.claims, login.Account, answer)}
	}
	if known {
		return preflight.Problem(fmt.Errorf("%s (%s)", fault.Reason, reading.Words()))
	}
	return preflight.Problem(errors.New(fault.Reason))
}

// inWords is an answer with what it is known to mean.
func inWords(answer reply.Reply, sender envelope.Address, trustee string) string {
	reading, known := report.ReadFor(answer, sender, trustee)
	if !known {
		return answer.String()
	}
	return fmt.Sprintf("%s (%s)", reading.Words(), answer)
}

// noContent judges that nothing is sent.
func noContent([]reply.Reply) bool { return false }

// deliver makes one attempt on the token.
func (w *walk) deliver(ctx context.Context, e envelope.Envelope, content envelope.Content, judge func([]reply.Reply) bool) (upstream.Result, error) {
	name, err := hostname(w.box.settings.LAN)
	if err != nil {
		return upstream.Result{}, err
	}
	r := &relay{box: w.box, hostname: name, journal: journal.New(journal.Text(io.Discard, false))}
	way, err := r.submitting(oneToken{w.token})
	if err != nil {
		return upstream.Result{}, err
	}
	defer way.Close()
	return way.Deliver(ctx, e, content, judge)
}

// oneToken is the only one.
type oneToken struct{ token oauth.Token }

// Token implements submission.Tokens.
func (o oneToken) Token(context.Context) (submission.Token, error) {
	return submission.Token(o.token.Bearer.Reveal()), nil
}

// Refuse implements submission.Tokens.
func (oneToken) Refuse(submission.Token) {}
