package console

import (
	"context"
	"fmt"
	"strings"
	"time"

	"sealpost/provisioning/candidate"
	"sealpost/provisioning/operator"
	"sealpost/provisioning/settings"
)

// menu offers what may be done to a box that was set up, once.
func (s *session) menu(ctx context.Context) error { return s.menuOf(ctx, s.choices()) }

// menuOf offers choices, once.
func (s *session) menuOf(ctx context.Context, choices []choice) error {
	s.showMenu(choices)
	var chosen choice
	err := s.askUntilValid(ctx, func() error {
		s.sayTrial(ctx)
		s.t.Print("Menu: ")
		answer, err := s.t.Line(ctx)
		if err == nil {
			chosen, err = s.pick(append(choices, s.trialChoices()...), answer)
		}
		return err
	})
	if err != nil {
		return err
	}
	return chosen.do(ctx)
}

func (s *session) choices() []choice {
	return []choice{
		{"status", s.status},
		{"last messages", s.lines(s.box.Messages, "No message yet.")},
		{"queue", s.queue},
		{"certificate", s.certificate},
		{"network", s.changeNetwork},
		{"settings", s.settings},
		{"preflight", s.preflight},
		{"test message", s.testFromMenu},
		{"logs", s.lines(s.box.Logs, "The log is empty.")},
		{"clock", s.clock},
		{"PIN", s.changePIN},
		{"restart", s.restart},
		{"factory reset", s.reset},
		{"tenant", s.ofTenant},
	}
}

// choicesWithoutStorage are what can be done to a box whose storage is missing.
func (s *session) choicesWithoutStorage() []choice {
	return []choice{
		{"status", s.status},
		{"logs", s.lines(s.box.Logs, "The log is empty.")},
		{"clock", s.clock},
		{"restart", s.restart},
	}
}

// showMenu shows the choices in columns.
func (s *session) showMenu(choices []choice) {
	const perRow = 3
	rows := (len(choices) + perRow - 1) / perRow
	s.t.Print("\n")
	for row := range rows {
		var line strings.Builder
		for i := row; i < len(choices); i += rows {
			fmt.Fprintf(&line, "  %2d  %-18s", i+1, choices[i].name)
		}
		s.t.Say("%s", strings.TrimRight(line.String(), " "))
	}
}

// pick finds what an answer in the menu means.
func (s *session) pick(choices []choice, answer string) (choice, error) {
	for i, c := range choices {
		if answer == fmt.Sprint(i+1) || strings.EqualFold(answer, c.name) {
			return c, nil
		}
	}
	if answer == "" {
		return choice{}, invalidInput("")
	}
	return choice{}, invalidInput("Type the number or the name of one of these.")
}

// sayTrial shows how long settings on trial wait to be confirmed.
func (s *session) sayTrial(ctx context.Context) {
	status, err := s.box.Status(ctx)
	switch {
	case err != nil:
		return // the choice "status" says why
	case status.TrialLeft > 0:
		s.t.Say("The new settings are on trial. Type \"confirm\" within %s minutes or they go back; \"back\" takes them back now.", minutes(status.TrialLeft))
	case s.onTrial:
		s.t.Say("Nobody confirmed the new settings: those before are in force again.")
	}
	s.onTrial = status.TrialLeft > 0
}

// trialChoices are what can be said about settings on trial.
func (s *session) trialChoices() []choice {
	if !s.onTrial {
		return nil
	}
	return []choice{
		{"confirm", func(ctx context.Context) error {
			return s.endTrial(ctx, "Confirmed: the new settings stay.", s.box.Confirm)
		}},
		{"back", func(ctx context.Context) error {
			return s.endTrial(ctx, "The settings before are in force again.", s.box.RollBack)
		}},
	}
}

func (s *session) endTrial(ctx context.Context, success string, do func(context.Context) error) error {
	done, err := s.carryOut(ctx, success, do)
	if done {
		s.onTrial = false
	}
	return err
}

func (s *session) status(ctx context.Context) error {
	var status operator.Status
	done, err := s.runCancellable(ctx, func(ctx context.Context) (err error) {
		status, err = s.box.Status(ctx)
		return err
	})
	if err != nil || !done {
		return err
	}
	s.t.Item("  box", fmt.Sprintf("%s, serial number %s, Sealpost %s", orElse(status.Model, "unknown"), status.Serial, status.Version))
	s.t.Item("  up", status.Uptime.Round(time.Second).String())
	if status.Memory > 0 {
		s.t.Item("  memory", fmt.Sprintf("%d of %d MiB free", status.Free>>20, status.Memory>>20))
	}
	if status.Storage != nil {
		s.t.Item("  storage", words.Say(status.Storage))
	}
	s.showNetwork(status.Network)
	s.t.Item("  clock", orElse(status.Clock, "it is set: "+time.Now().UTC().Format("2006-01-02 15:04:05")+" UTC"))
	s.t.Item("  relay", orElse(status.Relay, "works"))
	return nil
}

// lines shows the box's answer, or a text if it is empty.
func (s *session) lines(get func(context.Context) ([]string, error), empty string) func(context.Context) error {
	return func(ctx context.Context) error {
		done, err := s.runCancellable(ctx, func(ctx context.Context) error {
			lines, err := get(ctx)
			for _, line := range lines {
				s.t.hang("    ", ascii(line))
			}
			if err == nil && len(lines) == 0 {
				s.t.Say("%s", empty)
			}
			return err
		})
		if done {
			return nil
		}
		return err
	}
}

func (s *session) queue(ctx context.Context) error {
	var q operator.Queue
	done, err := s.runCancellable(ctx, func(ctx context.Context) (err error) {
		q, err = s.box.Queue(ctx)
		return err
	})
	if err != nil || !done {
		return err
	}
	for i, item := range q.Items {
		s.t.Item(fmt.Sprintf("  %d", i+1), item.Words)
	}
	s.t.Say("%s", capitalized(words.AppendAll(q.Words, q.Codes)))
	if len(q.Items) == 0 {
		return nil
	}
	return s.choose(ctx, "Queue", "1", []choice{
		{"leave it", func(context.Context) error { return nil }},
		{"try all now", func(ctx context.Context) error {
			_, err := s.carryOut(ctx, "Every message is tried now.", s.box.Retry)
			return err
		}},
		{"drop one", func(ctx context.Context) error { return s.drop(ctx, q.Items) }},
	})
}

// drop throws one message away.
func (s *session) drop(ctx context.Context, items []operator.Item) error {
	var item choice
	var numbers []choice
	for _, i := range items {
		numbers = append(numbers, choice{i.ID, func(ctx context.Context) error { return s.box.Drop(ctx, i.ID) }})
	}
	err := s.ask(ctx, question{"Number of the message", "", func(answer string) (err error) {
		item, err = s.pick(numbers, answer)
		return err
	}})
	if err != nil {
		return err
	}
	return s.sure(ctx, "It is thrown away for good, and nobody is told.", "yes", "Dropped.", item.do)
}

// sure does what cannot be undone, once the words were typed.
func (s *session) sure(ctx context.Context, warning, words, success string, do func(context.Context) error) error {
	s.t.Say("%s", warning)
	err := s.ask(ctx, question{fmt.Sprintf("Type \"%s\" to do it; Ctrl-C goes back", words), "", func(answer string) error {
		if answer != words {
			return invalidInput("Nothing was done yet.")
		}
		return nil
	}})
	if err != nil {
		return err
	}
	_, err = s.carryOut(ctx, success, do)
	return err
}

// inForce returns the settings as a draft of this version's schema, for a change
// of them, and what the draft leaves out.
func (s *session) inForce(ctx context.Context) (u *setup, dropped settings.Errors, err error) {
	running, err := s.running(ctx)
	if err != nil {
		return nil, nil, err
	}
	text, dropped, err := settings.EditStored([]byte(running.Settings), running.Schema)
	if err != nil {
		s.t.Say("%s", inWords(err))
		return nil, nil, errBack
	}
	d, err := parseDraft(string(text))
	if err != nil {
		s.t.Say("%s", inWords(err))
		return nil, nil, errBack
	}
	return &setup{session: s, draft: d, candidate: candidate.Candidate{Base: candidate.Version(running.Settings)}}, dropped, nil
}

// sayIgnored names what the settings in force hold beyond this version, and
// what becomes of it.
func (s *session) sayIgnored(ignored settings.Errors, fate string) {
	if len(ignored) == 0 {
		return
	}
	s.t.Say("Another version of Sealpost stored settings that this one does not know. %s", fate)
	for _, e := range ignored {
		s.t.hang("    ", "  - "+ascii(e.Message))
	}
}

// changeNetwork commits another network on trial: a change can cut its author
// off.
func (s *session) changeNetwork(ctx context.Context) error {
	u, dropped, err := s.inForce(ctx)
	if err != nil {
		return err
	}
	s.sayIgnored(dropped, "A change that you apply here takes them out:")
	before, err := u.draft.text()
	if err != nil {
		return err
	}
	if err := u.network(ctx); err != nil {
		return err
	}
	text, err := u.draft.text()
	if err != nil {
		return err
	}
	if text == before {
		s.t.Say("That is as it was; nothing was changed.")
		return nil
	}
	_, err = s.commit(ctx, candidate.Candidate{Settings: text, Trial: true, Base: u.candidate.Base})
	return err
}

// settings shows the settings in force, and takes others.
func (s *session) settings(ctx context.Context) error {
	running, err := s.running(ctx)
	if err != nil {
		return err
	}
	// As they are, so that they can be copied from here.
	s.t.Print("\n" + harmless(running.Settings) + "\n")
	stored, err := settings.ParseStored([]byte(running.Settings), running.Schema)
	if err != nil {
		s.t.Say("%s", inWords(err))
	}
	s.sayIgnored(stored.Ignored, "The box works without them, and they stay stored:")
	return s.choose(ctx, "Settings", "1", []choice{
		{"leave them", func(context.Context) error { return nil }},
		{"paste others", func(ctx context.Context) error {
			var text string
			err := s.askUntilValid(ctx, func() (err error) {
				text, err = s.pasteTOML(ctx)
				return err
			})
			if err != nil {
				return err
			}
			_, err = s.commit(ctx, candidate.Candidate{Settings: text, Trial: true, Base: candidate.Version(running.Settings)})
			return err
		}},
	})
}

func (s *session) testFromMenu(ctx context.Context) error {
	u, _, err := s.inForce(ctx)
	if err != nil {
		return err
	}
	return s.test(ctx, u.draft.get("site.alert"))
}

func (s *session) clock(ctx context.Context) error {
	const form = "2006-01-02 15:04:05"
	s.t.Say("The box says it is %s UTC. It asks time servers by itself; set it by hand where it reaches none.", time.Now().UTC().Format(form))
	var t time.Time
	err := s.ask(ctx, question{"Time in UTC, such as " + time.Now().UTC().Format(form) + "; Ctrl-C goes back", "", func(answer string) (err error) {
		if t, err = time.Parse(form, answer); err != nil {
			err = invalidInput("That is not a time: type year-month-day hour:minute:second, all in figures.")
		}
		return err
	}})
	if err != nil {
		return err
	}
	_, err = s.carryOut(ctx, "The clock is set.", func(ctx context.Context) error { return s.box.SetClock(ctx, t) })
	return err
}

func (s *session) changePIN(ctx context.Context) error {
	digits, err := s.newPIN(ctx)
	if err != nil {
		return err
	}
	words := "The PIN is to be taken away."
	if digits != "" {
		words = "This console is to ask for the new PIN from now on."
	}
	s.t.Say("%s", words)
	_, err = s.commit(ctx, candidate.Candidate{PIN: &digits})
	return err
}

func (s *session) restart(ctx context.Context) error {
	return s.sure(ctx, "The box restarts; mail waits for about a minute.", "yes", "It restarts.", s.box.Restart)
}

func (s *session) reset(ctx context.Context) error {
	return s.sure(ctx, "Settings, certificate, key and all mail that waits here are erased for good.", "erase everything", "It is erased, and the box restarts.", s.box.FactoryReset)
}
