package console

import (
	"context"

	"sealpost/provisioning/candidate"
)

// certificate is the menu of the client certificate.
func (s *session) certificate(ctx context.Context) error {
	return s.choose(ctx, "Certificate", "1", []choice{
		{"show it", s.showCertificate},
		{"paste a PFX in base64", s.importPFX},
		{"create a key in the TPM, and print a certificate request", func(ctx context.Context) error {
			u, _, err := s.editSettings(ctx)
			if err != nil {
				return err
			}
			text, err := u.draft.text()
			if err != nil {
				return err
			}
			return s.printRequest(ctx, text, u.draft.get("senders.accepted_domains"))
		}},
		{"paste the certificate for a request", func(ctx context.Context) error {
			pem, err := s.askIssued(ctx)
			if err != nil {
				return err
			}
			_, err = s.commit(ctx, candidate.Candidate{PEM: pem})
			return err
		}},
	})
}

func (s *session) showCertificate(ctx context.Context) error {
	_, err := s.runCancellable(ctx, func(ctx context.Context) error {
		text, err := s.box.Certificate(ctx)
		if err == nil {
			s.t.hang("             ", ascii(text))
		}
		return err
	})
	return err
}

func (s *session) importPFX(ctx context.Context) error {
	c, err := s.askPFX(ctx)
	if err != nil {
		return err
	}
	defer clear(c.PFX)
	_, err = s.commit(ctx, c)
	return err
}
