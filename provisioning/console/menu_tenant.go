package console

import (
	"context"
	"strings"

	"sealpost/hal/printable"
	"sealpost/provisioning/candidate"
	"sealpost/provisioning/certificate"
)

// tenantMenu is the menu of the Microsoft 365 tenant.
func (s *session) tenantMenu(ctx context.Context) error {
	return s.choose(ctx, "Tenant", "1", []choice{
		{"check each step to the mailbox, and name the first that fails", s.verifyTenant},
		{"print the PowerShell that sets the tenant up for this box", s.printScript},
		{"print the certificate for token requests, to upload it", s.printApplication},
		{"enter the client secret", s.newClientSecret},
		{"sign in with a device code", s.signIn},
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
