package operator

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"

	"sealpost/cmd/sealpost/internal/wire"
	"sealpost/hal"
	api "sealpost/provisioning/operator"
	"sealpost/provisioning/preflight"
	"sealpost/provisioning/settings"
)

// PEM is a certificate or a request as a command prints it.
type PEM struct {
	PEM        string `json:"pem"`
	Thumbprint string `json:"thumbprint,omitempty"` // SHA-1, as the Entra admin center shows it
	Protection string `json:"protection,omitempty"`
}

func (p PEM) String() string { return strings.TrimSpace(p.PEM) }

// PowerShell is a script as a command prints it.
type PowerShell struct {
	PowerShell string `json:"powershell"`
}

func (p PowerShell) String() string { return p.PowerShell }

// SignInPrompt is what a person needs to sign the box in.
type SignInPrompt struct {
	URL     string    `json:"url"`
	Code    string    `json:"code"`
	Expires time.Time `json:"expires,omitzero"`
	Mailbox string    `json:"mailbox"`
	QRCode  string    `json:"-"` // of the URL, for a terminal; may be empty
}

func (p SignInPrompt) String() string {
	return fmt.Sprintf("%sTo sign this box in, open in any browser\n\n    %s\n\nand enter the code\n\n    %s\n\nbefore %s. Sign in as %s. Waiting ...",
		p.QRCode, p.URL, p.Code, p.Expires.Format("15:04"), p.Mailbox)
}

// CanSeal checks, before a sign-in, that the TPM can seal the refresh token.
func CanSeal(ctx context.Context, b *wire.Box) error {
	if b.Settings.Keys.Protection == settings.ProtectionFile {
		return nil
	}
	if state := b.TPM.State(ctx); state != hal.TPMReady && state != hal.TPMReplaced {
		return fmt.Errorf("the TPM, which has to seal the sign-in, is %s: %s", state, state.Advice())
	}
	return nil
}

// SignedIn says that a sign-in succeeded.
type SignedIn struct {
	User string `json:"user,omitempty"` // empty if the token has no user
}

func (s SignedIn) String() string {
	if s.User == "" {
		return "The box is signed in."
	}
	return "The box is signed in as " + s.User + "."
}

// TenantScript implements [api.Box].
func (l Local) TenantScript(ctx context.Context) (string, error) {
	script, err := singleValue[PowerShell](ctx, l.command("tenant", "script", "--console"), "")
	return script.PowerShell, err
}

// TenantCertificate implements [api.Box].
func (l Local) TenantCertificate(ctx context.Context) (string, error) {
	certificate, err := singleValue[PEM](ctx, l.command("tenant", "certificate"), "")
	return certificate.String(), err
}

// VerifyTenant implements [api.Box].
func (l Local) VerifyTenant(ctx context.Context) iter.Seq2[preflight.Finding, error] {
	return values[preflight.Finding](ctx, childTimeout, l.command("tenant", "verify"), "")
}

// SignIn implements [api.Box].
func (l Local) SignIn(ctx context.Context) iter.Seq2[api.Step, error] {
	type line struct {
		SignInPrompt
		SignedIn
	}
	return func(yield func(api.Step, error) bool) {
		for output, err := range values[line](ctx, signInTimeout, l.command("tenant", "login"), "") {
			if err != nil {
				yield(api.Step{}, err)
				return
			}
			steps := []api.Step{{Name: "page", Text: output.URL}, {Name: "code", Text: output.Code}, {Name: "as", Text: output.Mailbox}}
			if output.URL == "" {
				steps = []api.Step{{Name: "signed in", Text: output.SignedIn.String()}}
			}
			for _, s := range steps {
				if !yield(s, nil) {
					return
				}
			}
		}
	}
}
