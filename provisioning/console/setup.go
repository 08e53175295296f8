package console

import (
	"context"
	"errors"
	"slices"
	"strings"

	"sealpost/provisioning/candidate"
	"sealpost/provisioning/certificate"
	"sealpost/provisioning/pin"
	"sealpost/provisioning/preflight"
)

// setup holds the answers of a technician so far.
type setup struct {
	*session
	draft     draft
	candidate candidate.Candidate
	probed    preflight.ProbeResult // of the mail host; empty if the probe failed
	unknown   bool                  // the probe found no mail host of the domain
}

// step is one question of several; Ctrl-C goes back to the previous one.
type step func(context.Context) error

// setUp configures a new box, up to a test message.
func (s *session) setUp(ctx context.Context) error {
	s.t.Print("\n")
	s.t.Say("This box is not set up yet. Enter accepts the value in [brackets], Ctrl-C goes back one question. Nothing takes effect until you type apply at the end.")
	d, err := parseDraft("")
	if err != nil {
		return err
	}
	u := &setup{session: s, draft: d, candidate: candidate.Candidate{Base: candidate.Version("")}}
	defer u.forget()
	return s.choose(ctx, "How", "1", []choice{
		{"step by step", func(ctx context.Context) error {
			return u.followAll(ctx, u.stepByStep)
		}},
		{"paste a complete sealpost.toml", func(ctx context.Context) error {
			return u.followAll(ctx, u.byPaste)
		}},
	})
}

// follow asks the questions in turn.
func (u *setup) follow(ctx context.Context, steps ...step) error {
	return u.followAll(ctx, func() []step { return steps })
}

// followAll asks questions in turn; an answer may change those that follow.
func (u *setup) followAll(ctx context.Context, steps func() []step) error {
	for i := 0; i < len(steps()); i++ {
		err := steps()[i](ctx)
		if errors.Is(err, errBack) && i > 0 {
			i -= 2
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// forget discards what was entered.
func (u *setup) forget() {
	clear(u.candidate.PFX)
	u.candidate = candidate.Candidate{}
}

func (u *setup) site(ctx context.Context) error {
	u.t.Print("\n")
	return u.askOptional(ctx, "Name of the site", u.draft.get("site.name"), func(name string) error { return u.draft.put("site.name", name) })
}

func (u *setup) domains(ctx context.Context) error {
	u.t.Print("\n")
	u.t.Say("The tenant's accepted domains, such as contoso.com, separated by commas. Mail goes to the MX of the first one.")
	return u.askDomains(ctx)
}

const domainsKey = "senders.accepted_domains"

func (u *setup) askDomains(ctx context.Context) error {
	return u.ask(ctx, question{"Accepted domains", u.draft.get(domainsKey), func(domains string) error { return u.draft.putList(domainsKey, domains) }})
}

func (u *setup) sender(ctx context.Context) error {
	u.t.Print("\n")
	u.t.Say("Mail without a sender, or from another domain, is sent from the default sender.")
	return u.askOptional(ctx, "Default sender", u.draft.get("senders.default"), func(a string) error { return u.draft.put("senders.default", a) })
}

func (u *setup) alert(ctx context.Context) error {
	return u.askOptional(ctx, "Mail address for alerts", u.draft.get("site.alert"), func(a string) error { return u.draft.put("site.alert", a) })
}

// pin asks for the PIN twice, because it is not shown.
func (u *setup) pin(ctx context.Context) error {
	u.t.Print("\n")
	digits, err := u.newPIN(ctx)
	if err == nil && digits != "" {
		u.candidate.PIN = &digits
	} else if err == nil {
		u.candidate.PIN = nil
	}
	return err
}

// newPIN asks for a PIN; "" is none.
func (s *session) newPIN(ctx context.Context) (digits string, err error) {
	err = s.askUntilValid(ctx, func() error {
		s.t.Print("PIN for this console, 4 to 16 digits, not shown [none]: ")
		if digits, err = s.t.Secret(ctx); err != nil || digits == "" || digits == none {
			digits = strings.TrimSuffix(digits, none)
			return err
		}
		if _, err := pin.Seal(digits); err != nil {
			return invalidInput(sentence(err) + ".")
		}
		s.t.Print("The same PIN again: ")
		repeated, err := s.t.Secret(ctx)
		if err == nil && repeated != digits {
			return invalidInput("The PINs are different.")
		}
		return err
	})
	return digits, err
}

// pasteSettings asks for a complete sealpost.toml.
func (u *setup) pasteSettings(ctx context.Context) error {
	return u.askUntilValid(ctx, func() error {
		text, err := u.pasteTOML(ctx)
		if err != nil {
			return err
		}
		d, err := parseDraft(text)
		if err != nil {
			return invalidInput(sentence(err))
		}
		u.draft = d
		return nil
	})
}

// pasteTOML asks for valid settings.
func (s *session) pasteTOML(ctx context.Context) (string, error) {
	s.t.Print("\n")
	s.t.Say("Paste the sealpost.toml now; it is not shown. Then type a single dot on a line and Enter.")
	text, err := s.t.Paste(ctx)
	if err != nil {
		return "", err
	}
	done, err := s.runCancellable(ctx, func(ctx context.Context) error {
		return s.box.Check(ctx, candidate.Candidate{Settings: string(text)})
	})
	if err == nil && !done {
		err = invalidInput("Nothing was changed. Correct the text, and paste it again.")
	}
	return string(text), err
}

// apply shows what was entered, commits it and checks that it works.
func (u *setup) apply(ctx context.Context) error {
	text, err := u.draft.text()
	if err != nil {
		return err
	}
	u.candidate.Settings = text
	u.t.Print("\n")
	u.summary()
	applied, err := u.commit(ctx, u.candidate)
	if err != nil {
		return err
	}
	if !applied {
		return u.unapplied(ctx)
	}
	u.forget()
	if err := u.setUpTenant(ctx); err != nil && !errors.Is(err, errBack) {
		return err
	}
	if err := u.preflight(ctx); err != nil && !errors.Is(err, errBack) {
		return err
	}
	if err := u.test(ctx, u.draft.get("site.alert")); err != nil && !errors.Is(err, errBack) {
		return err
	}
	return nil
}

// unapplied goes back to the questions, unless the settings were stored.
func (u *setup) unapplied(ctx context.Context) error {
	running, err := u.running(ctx)
	if err == nil && running.Settings == "" {
		err = errBack
	}
	return err
}

func (u *setup) summary() {
	u.t.Say("This is what you entered:")
	lock := none
	if u.candidate.PIN != nil {
		lock = "set"
	}
	d := u.draft
	address := orElse(d.get("network.address"), "DHCP")
	if gateway := d.get("network.gateway"); gateway != "" {
		address += ", gateway " + gateway
	}
	if dns := d.get("network.dns"); dns != "" {
		address += ", DNS " + dns
	}
	for _, row := range slices.Concat([][2]string{
		{"site", orElse(d.get("site.name"), none)},
		{"network", address},
		{"domains", orElse(d.get("senders.accepted_domains"), "the domain of the mailbox")},
	}, u.deliveryRows(), [][2]string{
		{"sender", orElse(d.get("senders.default"), orElse(u.loginMailbox(), none))},
		{"alerts to", orElse(d.get("site.alert"), "nobody")},
		{"PIN", lock},
	}) {
		u.t.Item("  "+row[0], row[1])
	}
}

// commit commits a candidate after the technician has typed "apply".
func (s *session) commit(ctx context.Context, c candidate.Candidate) (applied bool, err error) {
	err = s.ask(ctx, question{`Type "apply" to make these changes; Ctrl-C goes back`, "", func(answer string) error {
		if answer != "apply" {
			return invalidInput("Nothing was changed.")
		}
		return nil
	}})
	if err != nil {
		return false, err
	}
	s.t.Say("Please wait ...")
	return s.carryOut(ctx, "The changes are active.", func(ctx context.Context) error { return s.box.Commit(ctx, c) })
}

// carryOut runs an action that must not be interrupted halfway.
func (s *session) carryOut(ctx context.Context, success string, do func(context.Context) error) (done bool, err error) {
	done, err = s.runCancellable(ctx, func(ctx context.Context) error { return do(context.WithoutCancel(ctx)) })
	if done {
		s.t.Say("%s", success)
	}
	return done, err
}

// preflight shows what would prevent delivery.
func (s *session) preflight(ctx context.Context) error {
	s.t.Print("\n")
	s.t.Say("Checking what would prevent delivery; Ctrl-C stops it.")
	problems := 0
	done, err := s.runCancellable(ctx, func(ctx context.Context) error {
		for finding, err := range s.box.Preflight(ctx) {
			if err != nil {
				return err
			}
			if finding.Level == certificate.Problem {
				problems++
			}
			s.t.Item("  "+finding.Name, mark(finding.Level)+finding.WithCure(cures).Text)
		}
		return nil
	})
	switch {
	case err != nil || !done:
	case problems > 0:
		s.t.Say("Problems: %d. Correct them as described, then choose check in the menu.", problems)
	default:
		s.t.Say("No problems found.")
	}
	return err
}

// mark is the prefix of a finding that is a problem or a note.
func mark(l certificate.Level) string {
	switch l {
	case certificate.Problem:
		return "PROBLEM: "
	case certificate.Note:
		return "Note: "
	}
	return ""
}

// test sends a test message and shows its trace.
func (s *session) test(ctx context.Context, alert string) error {
	s.t.Print("\n")
	var to string
	err := s.askOptional(ctx, "Send a test message to", alert, func(address string) error {
		if to = address; to != "" && !strings.Contains(to, "@") {
			return invalidInput("Type a mail address, such as alerts@msp.example.")
		}
		return nil
	})
	if err != nil || to == "" {
		return err
	}
	_, err = s.runCancellable(ctx, func(ctx context.Context) error {
		for step, err := range s.box.SendTest(ctx, to) {
			if err != nil {
				return err
			}
			s.t.Item("  "+step.Name, step.Text)
		}
		return nil
	})
	return err
}
