package diagnose

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"sealpost/cmd/sealpost/internal/wire"
	"sealpost/hal/fault"
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

// Verify checks each step to the mailbox in order; those after the first
// problem mean nothing. With a recipient it finally sends a test message.
func Verify(ctx context.Context, b *wire.Box, to envelope.Address) iter.Seq[preflight.Finding] {
	v := &verification{Box: b, site: tenant.Site{Settings: b.Settings}, to: to}
	return preflight.Run(ctx, checkTimeout(b.Settings), v.steps())
}

// verification is the state of a Verify run.
type verification struct {
	*wire.Box
	site     tenant.Site
	to       envelope.Address // of the test message; empty for none
	token    oauth.Token
	tokenErr error // why there is no token
	claims   tenant.Token
}

// steps returns the checks; each needs the one before it.
func (v *verification) steps() []preflight.Check {
	steps := []preflight.Check{
		{Name: "settings", Run: v.checkSettings},
		{Name: "credential", Run: v.credential},
		{Name: "issuer", Run: v.issuer},
		{Name: "token", Run: v.issued},
		{Name: "audience", Run: func(context.Context) []preflight.Finding { return []preflight.Finding{v.site.Audience(v.claims)} }},
		{Name: "permission", Run: func(context.Context) []preflight.Finding { return []preflight.Finding{v.site.Permission(v.claims)} }},
		{Name: "login", Run: v.login},
	}
	if v.to != "" {
		steps = append(steps, preflight.Check{Name: "message", Run: v.message})
	}
	return steps
}

func passed(format string, args ...any) []preflight.Finding {
	return []preflight.Finding{{Level: certificate.OK, Text: fmt.Sprintf(format, args...)}}
}

func (v *verification) checkSettings(context.Context) []preflight.Finding {
	s := v.Settings
	if !s.Upstream.Method.Traits().Mailbox {
		return preflight.Problem(fault.New(fault.WrongMethod, fmt.Sprintf("upstream.method is %q: this is for %q", s.Upstream.Method, settings.MethodSubmission)))
	}
	found := passed("%s logs in at %s on port %d; token from %s", s.Upstream.Submission.User, s.Upstream.Submission.Host, s.Upstream.Submission.Port, s.Issuer().TokenURL)
	return append(found, preflight.Cloud(s)...)
}

// credential checks whether the credential for a token is stored, and whether
// the box can use it.
func (v *verification) credential(ctx context.Context) []preflight.Finding {
	found := v.stored(ctx)
	if found[0].Level == certificate.Problem {
		return found
	}
	v.requestToken(ctx)
	if fault := (*oauth.Fault)(nil); errors.As(v.tokenErr, &fault) && fault.Err != nil {
		return preflight.Problem(fault)
	}
	return found
}

// stored checks for the credential that the settings require.
func (v *verification) stored(ctx context.Context) []preflight.Finding {
	kind, code := credential.ClientSecret, fault.NoClientSecret
	switch v.Settings.Upstream.OAuth.Grant {
	case settings.GrantCertificate:
		leaf, protection, err := v.Application(ctx)
		if err != nil {
			return preflight.Problem(err)
		}
		return passed("a certificate, %s, key %s", wire.CommonName(leaf), protection)
	case settings.GrantDevice:
		kind, code = credential.RefreshToken, fault.NoSignIn
	}
	secret, err := v.Vault().Load(ctx, kind)
	clear(secret)
	if errors.Is(err, credential.ErrNone) {
		err = fault.New(code, fmt.Sprintf("this box has no %s for this application", kind))
	}
	if err != nil {
		return preflight.Problem(err)
	}
	return passed("a %s is stored", kind)
}

// requestToken requests a token.
func (v *verification) requestToken(ctx context.Context) {
	name, err := v.Hostname()
	if err != nil {
		v.tokenErr = err
		return
	}
	grant, err := v.Grant(name)
	if err == nil {
		v.token, err = grant.Token(ctx)
	}
	v.tokenErr = err
}

// issuer checks whether the issuer was reached, so that it returned a token or an
// error code.
func (v *verification) issuer(context.Context) []preflight.Finding {
	fault := (*oauth.Fault)(nil)
	if v.tokenErr != nil && (!errors.As(v.tokenErr, &fault) || fault.Code == "") {
		return preflight.Problem(v.tokenErr)
	}
	return passed("reachable")
}

func (v *verification) issued(context.Context) []preflight.Finding {
	if v.tokenErr != nil {
		return preflight.Problem(v.tokenErr)
	}
	claims, err := v.token.Claims()
	v.claims = tenant.Token{Opaque: err != nil, Audience: claims.Audience, Roles: claims.Roles, Scopes: claims.Scopes,
		AppID: claims.AppID, Object: claims.Object, User: claims.User}
	return passed("granted, until %s", v.token.Expires.Format("15:04"))
}

// login makes a delivery to the mailbox itself, without the content.
func (v *verification) login(ctx context.Context) []preflight.Finding {
	user := envelope.Address(v.Settings.Upstream.Submission.User)
	result, err := v.deliver(ctx, envelope.Envelope{ID: "verify", Sender: user, Recipients: []envelope.Address{user}}, plainContent(""), upstream.Transactions{ShouldSend: noContent})
	if err != nil {
		return v.refused(err)
	}
	if r := result.Replies[0]; !r.Positive() {
		return preflight.Problem(errors.New(sentence(r, user, result.Trustee)))
	}
	return passed("%s logged in by %s and may send (%s)", result.Connection.Account, result.Connection.Mechanism, result.Connection.TLS)
}

// message sends a complete message: only this shows whether the mailbox may send
// as the sender.
func (v *verification) message(ctx context.Context) []preflight.Finding {
	m := testMessage{hello: "verify.localhost", to: v.to, settings: v.Settings}
	e := envelope.Envelope{ID: "verify", Sender: envelope.Address(m.from()), Recipients: []envelope.Address{v.to}}
	content := plainContent(m.text())
	e.Size = content.Size()
	result, err := v.deliver(ctx, e, content, upstream.Transactions{ShouldSend: func(replies []reply.Reply) bool { return replies[0].Positive() }})
	if err != nil {
		return v.refused(err)
	}
	if r := result.Replies[0]; !result.Accepted || !r.Positive() {
		return preflight.Problem(errors.New(sentence(r, e.Sender, result.Trustee)))
	}
	return passed("sent to %s as %s: %s", v.to, m.from(), result.Replies[0])
}

// refused explains an attempt that got no reply to the message. Only a refused
// login has a known remedy.
func (v *verification) refused(err error) []preflight.Finding {
	fault := (*upstream.Unavailable)(nil)
	if !errors.As(err, &fault) {
		return preflight.Problem(err)
	}
	classification, known := report.Classify(fault.ServerReply)
	if login := (*submission.LoginRefused)(nil); errors.As(err, &login) {
		loginReply := tenant.Reply{Code: fault.ServerReply.Code, Status: fault.ServerReply.Status.String(), Text: fault.ServerReply.String()}
		if known {
			loginReply.Meaning = classification.Text()
		}
		return []preflight.Finding{v.site.Login(v.claims, login.Account, loginReply)}
	}
	if known {
		return preflight.Problem(fmt.Errorf("%s (%s)", fault.Reason, classification.Text()))
	}
	return preflight.Problem(errors.New(fault.Reason))
}

// sentence returns a reply with its known meaning.
func sentence(r reply.Reply, sender envelope.Address, trustee string) string {
	classification, known := report.ClassifyFor(r, sender, trustee)
	if !known {
		return r.String()
	}
	return fmt.Sprintf("%s (%s)", classification.Text(), r)
}

// noContent makes Deliver stop before the content.
func noContent([]reply.Reply) bool { return false }

// deliver makes one attempt with the token.
func (v *verification) deliver(ctx context.Context, e envelope.Envelope, content envelope.Content, tx upstream.Transactions) (upstream.Result, error) {
	up, err := v.Submission(oneToken{v.token}, journal.Discard())
	if err != nil {
		return upstream.Result{}, err
	}
	defer up.Close()
	return up.Deliver(ctx, e, content, tx)
}

// oneToken always provides the same token.
type oneToken struct{ token oauth.Token }

// Token implements submission.TokenProvider.
func (o oneToken) Token(context.Context) (submission.Token, error) {
	return submission.Token(o.token.Bearer.Reveal()), nil
}

// Reject implements submission.TokenProvider.
func (oneToken) Reject(submission.Token) {}
