package console

import (
	"context"

	"sealpost/provisioning/candidate"
)

// certificate is the menu of the client certificate and of those for the LAN.
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
		{"show the box's own CA for the LAN", s.showAuthority},
		{"paste a PFX for the LAN in base64", s.importLAN},
		{"remove the PFX for the LAN", func(ctx context.Context) error {
			s.t.Say("Devices then get certificates of the box's own CA.")
			_, err := s.commit(ctx, candidate.Candidate{RemoveLAN: true})
			return err
		}},
	})
}

// showAuthority prints the CA's certificate unwrapped, so that it can be copied.
func (s *session) showAuthority(ctx context.Context) error {
	_, err := s.runCancellable(ctx, func(ctx context.Context) error {
		pem, err := s.box.Authority(ctx)
		if err == nil {
			s.t.Say("PCs and devices that trust this certificate trust the box:")
			s.t.Print(ascii(pem) + "\n")
		}
		return err
	})
	return err
}

// importLAN uploads the site's own server certificate for the LAN.
func (s *session) importLAN(ctx context.Context) error {
	c, err := s.askPFXAs(ctx, func(pfx []byte, password candidate.Password) candidate.Candidate {
		return candidate.Candidate{LAN: pfx, LANPassword: password}
	})
	if err != nil {
		return err
	}
	defer clear(c.LAN)
	_, err = s.commit(ctx, c)
	return err
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
