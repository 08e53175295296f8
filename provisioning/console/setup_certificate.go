package console

import (
	"context"
	"errors"
	"strings"

	"sealpost/provisioning/bundle"
	"sealpost/provisioning/candidate"
	"sealpost/provisioning/operator"
)

// chooseCertificate asks how the client certificate comes to the box.
func (u *setup) chooseCertificate(ctx context.Context) error {
	for {
		u.t.Print("\n")
		u.t.Say("The tenant knows this box by its client certificate.")
		err := u.choose(ctx, "Certificate", "1", []choice{
			{"paste a PFX in base64, and type its password", u.takePFX},
			{"make a request in the TPM, and print it", u.request},
			{"none for now", func(context.Context) error { u.forgetCertificate(); return nil }},
			{"from a USB stick", u.fromStick},
		})
		if !errors.Is(err, errAgain) {
			return err
		}
	}
}

// errAgain asks the question again.
var errAgain = errors.New("the question is asked again")

func (u *setup) forgetCertificate() {
	clear(u.candidate.PFX)
	u.candidate.PFX, u.candidate.Password, u.candidate.PEM = nil, "", nil
}

func (u *setup) fromStick(context.Context) error {
	u.t.Say("Make a folder named %s on a stick formatted as FAT32 or exFAT. Put the PFX into it, and its password into password.txt beside it. Plug the stick in once this box is set up; go on without a certificate until then.", bundle.Folder)
	return errAgain
}

// takePFX takes a PFX that opens and is of use.
func (u *setup) takePFX(ctx context.Context) error {
	u.forgetCertificate()
	taken, err := u.askPFX(ctx)
	if errors.Is(err, errBack) {
		return errAgain
	}
	u.candidate.PFX, u.candidate.Password = taken.PFX, taken.Password
	return err
}

// askPFX asks for a PFX and its password until the box has nothing against
// them.
func (s *session) askPFX(ctx context.Context) (c candidate.Candidate, err error) {
	defer func() {
		if err != nil {
			clear(c.PFX)
		}
	}()
	err = s.askUntilValid(ctx, func() error {
		s.t.Say("Paste the PFX in base64 now; it is not shown. It ends with its END line, or with a single dot on a line.")
		text, err := s.t.Paste(ctx)
		if err != nil {
			return err
		}
		defer clear(text)
		c.PFX, err = unarmour(text)
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
		c.Password = candidate.Password(password)
		return s.check(ctx, candidate.Candidate{PFX: c.PFX, Password: c.Password})
	})
	return c, err
}

// check has the box look at a candidate; what it has against it is in words,
// for another answer.
func (s *session) check(ctx context.Context, c candidate.Candidate) error {
	done, err := s.runCancellable(ctx, func(ctx context.Context) error { return s.box.Check(ctx, c) })
	if err == nil && !done {
		err = invalidInput("It was not taken, and nothing was changed.")
	} else if err == nil {
		s.t.Say("It is in order.")
	}
	return err
}

// request has the TPM make a key, whose request is printed, and takes the
// certificate that answers it, if it is there already.
func (u *setup) request(ctx context.Context) error {
	text, err := u.draft.text()
	if err != nil {
		return err
	}
	if err := u.printRequest(ctx, text, u.draft.get("senders.accepted_domains")); err != nil {
		return again(err)
	}
	return u.choose(ctx, "The certificate that answers it", "2", []choice{
		{"paste it now", func(ctx context.Context) error {
			u.forgetCertificate()
			pem, err := u.askAnswer(ctx)
			u.candidate.PEM = pem
			return again(err)
		}},
		{"later, from the menu", func(context.Context) error { u.forgetCertificate(); return nil }},
	})
}

// again turns the way back into the question before.
func again(err error) error {
	if errors.Is(err, errBack) {
		return errAgain
	}
	return err
}

// printRequest makes a request for a host name and prints it.
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
	s.t.Say("A request that waits for its certificate already is kept, unless you give it up.")
	err = s.choose(ctx, "Request", "1", []choice{
		{"make one", func(context.Context) error { return nil }},
		{"make one, and give up the one that waits", func(context.Context) error { r.Replace = true; return nil }},
	})
	if err != nil {
		return err
	}
	s.t.Say("The TPM makes a key; that may take a minute ...")
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

// askAnswer asks for the certificate that answers the request.
func (s *session) askAnswer(ctx context.Context) (pem []byte, err error) {
	err = s.askUntilValid(ctx, func() error {
		if pem, err = s.pasteCertificate(ctx); err != nil {
			return err
		}
		return s.check(ctx, candidate.Candidate{PEM: pem})
	})
	return pem, err
}

// pasteCertificate takes one or more certificates in PEM.
func (s *session) pasteCertificate(ctx context.Context) ([]byte, error) {
	s.t.Say("Paste the certificate in PEM now, with its chain if there is one; it is not shown. It ends two seconds after its last END line, or with a single dot on a line.")
	return s.t.Paste(ctx)
}
