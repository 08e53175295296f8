package console

import (
	"context"
	"crypto/x509"
	"errors"
	"slices"
	"strings"

	"sealpost/provisioning/bundle"
	"sealpost/provisioning/candidate"
	"sealpost/provisioning/certificate"
	"sealpost/provisioning/operator"
)

// chooseCertificate asks where the client certificate comes from.
func (u *setup) chooseCertificate(ctx context.Context) error {
	for {
		u.t.Print("\n")
		u.t.Say("The tenant identifies this box by its client certificate.")
		err := u.choose(ctx, "Certificate", "1", []choice{
			{"paste a PFX in base64", u.pastePFX},
			{"create a key in the TPM, and print a certificate request", u.request},
			{"none for now", func(context.Context) error { u.forgetCertificate(); return nil }},
			{"from a USB stick", u.fromStick},
		})
		if !errors.Is(err, errAgain) {
			return err
		}
	}
}

// errAgain repeats the question.
var errAgain = errors.New("the question is repeated")

func (u *setup) forgetCertificate() {
	clear(u.candidate.PFX)
	u.candidate.PFX, u.candidate.Password, u.candidate.PEM = nil, "", nil
}

func (u *setup) fromStick(context.Context) error {
	u.t.Say("Create a folder %s on a stick with FAT32 or exFAT. Copy the PFX into it, and write its password into password.txt in the same folder. Continue without a certificate, and plug the stick in when this box is set up.", bundle.Folder)
	return errAgain
}

// pastePFX asks for a PFX that the box can use.
func (u *setup) pastePFX(ctx context.Context) error {
	u.forgetCertificate()
	pasted, err := u.askPFX(ctx)
	if errors.Is(err, errBack) {
		return errAgain
	}
	u.candidate.PFX, u.candidate.Password = pasted.PFX, pasted.Password
	return err
}

// askPFX asks for the PFX of the client certificate, with its password.
func (s *session) askPFX(ctx context.Context) (candidate.Candidate, error) {
	return s.askPFXAs(ctx, func(pfx []byte, password candidate.Password) candidate.Candidate {
		return candidate.Candidate{PFX: pfx, Password: password}
	})
}

// askPFXAs asks for a PFX and its password until the box accepts the candidate that use
// makes of them.
func (s *session) askPFXAs(ctx context.Context, use func([]byte, candidate.Password) candidate.Candidate) (c candidate.Candidate, err error) {
	var pfx []byte
	defer func() {
		if err != nil {
			clear(pfx)
		}
	}()
	err = s.askUntilValid(ctx, func() error {
		s.t.Say("Paste the PFX in base64 now; it is not shown. The paste ends with the END line, or with a single dot on a line.")
		text, err := s.t.Paste(ctx)
		if err != nil {
			return err
		}
		defer clear(text)
		pfx, err = decodePFX(text)
		return err
	})
	if err != nil {
		return c, err
	}
	err = s.askUntilValid(ctx, func() error {
		s.t.Print("Password of the PFX, not shown; Ctrl-C goes back: ")
		password, err := s.t.Secret(ctx)
		if err != nil {
			return err
		}
		c = use(pfx, candidate.Password(password))
		return s.check(ctx, c)
	})
	return c, err
}

// check checks a candidate. It prints the faults and returns
// invalidInput, so that the question is asked again.
func (s *session) check(ctx context.Context, c candidate.Candidate) error {
	done, err := s.runCancellable(ctx, func(ctx context.Context) error { return s.box.Check(ctx, c) })
	if err == nil && !done {
		err = invalidInput("Nothing was changed.")
	} else if err == nil {
		s.t.Say("It is valid.")
	}
	return err
}

// request creates a key in the TPM, prints its certificate request, and asks for
// the certificate if it has been issued already.
func (u *setup) request(ctx context.Context) error {
	text, err := u.draft.text()
	if err != nil {
		return err
	}
	if err := u.printRequest(ctx, text, u.draft.get("senders.accepted_domains")); err != nil {
		return repeatOnBack(err)
	}
	return u.choose(ctx, "The certificate for it", "2", []choice{
		{"paste it now", func(ctx context.Context) error {
			u.forgetCertificate()
			pem, err := u.askIssued(ctx)
			u.candidate.PEM = pem
			return repeatOnBack(err)
		}},
		{"later, from the menu", func(context.Context) error { u.forgetCertificate(); return nil }},
	})
}

// repeatOnBack makes Ctrl-C repeat the question.
func repeatOnBack(err error) error {
	if errors.Is(err, errBack) {
		return errAgain
	}
	return err
}

// printRequest creates a request for a host name and prints it.
func (s *session) printRequest(ctx context.Context, settings, domains string) error {
	first, _, _ := strings.Cut(domains, ",")
	r := operator.Request{Settings: settings}
	err := s.ask(ctx, question{"Host name in the certificate", "relay." + first, func(name string) error {
		if name == "" || strings.ContainsAny(name, " ,@") || !strings.Contains(name, ".") {
			return invalidInput("Type one name, such as relay." + first + ".")
		}
		r.Name = name
		return nil
	}})
	if err != nil {
		return err
	}
	if !withinDomains(r.Name, domains) {
		s.t.Say("%s is in none of the accepted domains, so no connector of the tenant can match this certificate. Ctrl-C goes back.", r.Name)
	}
	s.t.Say("If another request is pending, it is kept unless you discard it.")
	err = s.choose(ctx, "Request", "1", []choice{
		{"create one", func(context.Context) error { return nil }},
		{"create one, and discard a pending one", func(context.Context) error { r.Replace = true; return nil }},
	})
	if err != nil {
		return err
	}
	s.t.Say("The TPM creates a key; this may take a minute ...")
	var pem string
	done, err := s.carryOut(ctx, "The key stays in the TPM. Give this to the certification authority:", func(ctx context.Context) (err error) {
		pem, err = s.box.Request(ctx, r)
		return err
	})
	if err == nil && !done {
		err = errBack
	}
	if err == nil {
		s.t.Print("\n" + strings.TrimSpace(pem) + "\n\n")
	}
	return err
}

// withinDomains reports whether a host name is in one of the domains, which commas
// separate.
func withinDomains(name, domains string) bool {
	template := &x509.Certificate{DNSNames: []string{name}}
	return slices.ContainsFunc(strings.Split(domains, ","), func(domain string) bool {
		return certificate.NameWithin(template, strings.TrimSpace(domain)) != ""
	})
}

// askIssued asks for the certificate that was issued for the request.
func (s *session) askIssued(ctx context.Context) (pem []byte, err error) {
	err = s.askUntilValid(ctx, func() error {
		if pem, err = s.pasteCertificate(ctx); err != nil {
			return err
		}
		return s.check(ctx, candidate.Candidate{PEM: pem})
	})
	return pem, err
}

// pasteCertificate asks for one or more certificates in PEM.
func (s *session) pasteCertificate(ctx context.Context) ([]byte, error) {
	s.t.Say("Paste the certificate in PEM now, with its chain if there is one; it is not shown. The paste ends two seconds after the last END line, or with a single dot on a line.")
	return s.t.Paste(ctx)
}
