package console

import (
	"context"
	"strings"

	"sealpost/hal/printable"
	"sealpost/provisioning/candidate"
	"sealpost/provisioning/certificate"
	"sealpost/provisioning/operator"
)

// tenantMenu is the menu of the Microsoft 365 tenant.
func (s *session) tenantMenu(ctx context.Context) error {
	return s.choose(ctx, "Tenant", "1", []choice{
		{"check each step to the mailbox, and name the first that fails", s.verifyTenant},
		{"print the PowerShell that sets the tenant up for this box", s.printScript},
		{"print the certificate for token requests, to upload it", s.printApplication},
		{"enter the client secret", s.newClientSecret},
		{"sign in with a device code", s.signIn},
		{"the keys that sign mail of direct delivery (DKIM)", s.dkim},
	})
}

// dkim is the menu of the keys that sign by DKIM.
func (s *session) dkim(ctx context.Context) error {
	do := func(action operator.DKIMAction) func(context.Context) error {
		return func(ctx context.Context) error {
			return s.printText(ctx, func(ctx context.Context) (string, error) { return s.box.DKIM(ctx, action) })
		}
	}
	return s.choose(ctx, "DKIM", "1", []choice{
		{"show the keys, and what to do next", do(operator.DKIMShow)},
		{"print the DNS records to publish", do(operator.DKIMRecord)},
		{"look the records up, and sign with their keys if all are published", do(operator.DKIMActivate)},
		{"make new keys, to replace the present ones", do(operator.DKIMRotate)},
		{"delete the old keys, a week after they were replaced", do(operator.DKIMRetire)},
	})
}

// printScript prints the PowerShell unwrapped, so that it can be copied from the
// terminal.
func (s *session) printScript(ctx context.Context) error { return s.printText(ctx, s.box.TenantScript) }

func (s *session) printApplication(ctx context.Context) error {
	return s.printText(ctx, s.box.TenantCertificate)
}

// printText prints a text that the box returns.
func (s *session) printText(ctx context.Context, get func(context.Context) (string, error)) error {
	_, err := s.runCancellable(ctx, func(ctx context.Context) error {
		text, err := get(ctx)
		if err == nil {
			s.t.Print("\n" + strings.TrimSpace(printable.Text(text)) + "\n\n")
		}
		return err
	})
	return err
}

func (s *session) newClientSecret(ctx context.Context) error {
	secret, err := s.askClientSecret(ctx)
	if err != nil || secret == "" {
		return err
	}
	_, err = s.commit(ctx, candidate.Candidate{ClientSecret: secret})
	return err
}

// signIn shows the page and code for a sign-in, and waits until it is done.
func (s *session) signIn(ctx context.Context) error {
	s.t.Print("\n")
	s.t.Say("Open the page in any browser, and enter the code; Ctrl-C stops it.")
	_, err := s.runCancellable(ctx, func(ctx context.Context) error {
		for step, err := range s.box.SignIn(ctx) {
			if err != nil {
				return err
			}
			s.t.Item("  "+step.Name, step.Text)
		}
		return nil
	})
	return err
}

func (s *session) verifyTenant(ctx context.Context) error {
	_, err := s.runCancellable(ctx, func(ctx context.Context) error {
		for finding, err := range s.box.VerifyTenant(ctx) {
			if err != nil {
				return err
			}
			s.t.Item("  "+finding.Name, mark(finding.Level)+finding.WithCure(cures).Text)
			if finding.Level == certificate.Problem {
				return nil
			}
		}
		s.t.Say("All checks passed.")
		return nil
	})
	return err
}
