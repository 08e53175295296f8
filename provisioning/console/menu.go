package console

import (
	"context"
	"fmt"
	"strings"
	"time"

	"sealpost/hal/printable"
	"sealpost/provisioning/candidate"
	"sealpost/provisioning/operator"
	"sealpost/provisioning/settings"
)

// menu shows the menu of a configured box once.
func (s *session) menu(ctx context.Context) error { return s.menuOf(ctx, s.choices()) }

// menuOf shows a menu once and runs the choice.
func (s *session) menuOf(ctx context.Context, choices []choice) error {
	s.showMenu(choices)
	var chosen choice
	err := s.askUntilValid(ctx, func() error {
		s.sayTrial(ctx)
		s.t.Print("Menu: ")
		answer, err := s.t.Line(ctx)
		if err != nil {
			return err
		}
		switch {
		case strings.EqualFold(answer, "help") || answer == "?":
			s.showMenu(choices)
			return invalidInput("")
		case !s.onTrial && (strings.EqualFold(answer, "confirm") || strings.EqualFold(answer, "back")):
			return invalidInput("No settings are on trial.")
		}
		chosen, err = s.pick(append(choices, s.trialChoices()...), answer)
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
		{"check", s.preflight},
		{"test message", s.testFromMenu},
		{"logs", s.lines(s.box.Logs, "The log is empty.")},
		{"clock", s.clock},
		{"PIN", s.changePIN},
		{"restart", s.restart},
		{"factory reset", s.reset},
		{"tenant", s.tenantMenu},
		{"users", s.users},
		{"devices", s.devices},
	}
}

// choicesWithoutStorage is the menu of a box whose storage is missing.
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

// pick returns the choice that an answer in the menu names.
func (s *session) pick(choices []choice, answer string) (choice, error) {
	for i, c := range choices {
		if answer == fmt.Sprint(i+1) || strings.EqualFold(answer, c.name) {
			return c, nil
		}
	}
	if answer == "" {
		return choice{}, invalidInput("")
	}
	return choice{}, invalidInput("Type the number or the name of a choice.")
}

// sayTrial shows how long settings on trial wait for confirmation.
func (s *session) sayTrial(ctx context.Context) {
	status, err := s.box.Status(ctx)
	switch {
	case err != nil:
		return // the choice "status" says why
	case status.TrialLeft > 0:
		s.t.Say("The new settings are on trial. Type \"confirm\" within %s minutes, or the previous settings are restored; \"back\" restores them now.", minutes(status.TrialLeft))
	case s.onTrial:
		s.t.Say("The new settings were not confirmed: the previous settings are restored.")
	}
	s.onTrial = status.TrialLeft > 0
}

// trialChoices end a trial.
func (s *session) trialChoices() []choice {
	if !s.onTrial {
		return nil
	}
	return []choice{
		{"confirm", func(ctx context.Context) error {
			return s.endTrial(ctx, "Confirmed: the new settings stay.", s.box.Confirm)
		}},
		{"back", func(ctx context.Context) error {
			return s.endTrial(ctx, "The previous settings are restored.", s.box.RollBack)
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
		s.t.Item("  storage", cures.Text(status.Storage))
	}
	s.showNetwork(status.Network)
	s.t.Item("  clock", orElse(status.Clock, "set: "+time.Now().UTC().Format("2006-01-02 15:04:05")+" UTC"))
	s.t.Item("  relay", orElse(status.Relay, "works"))
	return nil
}

// lines prints the lines that get returns, or a text if there are none.
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
		s.t.Item(fmt.Sprintf("  %d", i+1), item.Text)
	}
	s.t.Say("%s", capitalized(cures.AppendAll(q.Summary, q.Codes)))
	if len(q.Items) == 0 {
		return nil
	}
	return s.choose(ctx, "Queue", "1", []choice{
		{"leave it", func(context.Context) error { return nil }},
		{"retry all now", func(ctx context.Context) error {
			_, err := s.carryOut(ctx, "Retrying all messages.", s.box.Retry)
			return err
		}},
		{"drop one", func(ctx context.Context) error { return s.drop(ctx, q.Items) }},
	})
}

// drop deletes one message.
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
	return s.sure(ctx, "The message is permanently deleted; its sender is not notified.", "yes", "Deleted.", item.do)
}

// sure asks for a confirmation before an action that cannot be undone.
func (s *session) sure(ctx context.Context, warning, phrase, success string, do func(context.Context) error) error {
	s.t.Say("%s", warning)
	err := s.ask(ctx, question{fmt.Sprintf("Type \"%s\" to confirm; Ctrl-C goes back", phrase), "", func(answer string) error {
		if answer != phrase {
			return invalidInput("Nothing was changed.")
		}
		return nil
	}})
	if err != nil {
		return err
	}
	_, err = s.carryOut(ctx, success, do)
	return err
}

// editSettings returns the running settings as a draft in this version's schema, and
// the settings that the draft leaves out.
func (s *session) editSettings(ctx context.Context) (u *setup, dropped settings.Errors, err error) {
	running, err := s.running(ctx)
	if err != nil {
		return nil, nil, err
	}
	text, dropped, err := settings.EditStored([]byte(running.Settings), running.Schema)
	if err != nil {
		s.t.Say("%s", sentence(err))
		return nil, nil, errBack
	}
	d, err := parseDraft(string(text))
	if err != nil {
		s.t.Say("%s", sentence(err))
		return nil, nil, errBack
	}
	return &setup{session: s, draft: d, candidate: candidate.Candidate{Base: candidate.Version(running.Settings)}}, dropped, nil
}

// sayIgnored lists the settings that this version does not know, and what
// happens to them.
func (s *session) sayIgnored(ignored settings.Errors, effect string) {
	if len(ignored) == 0 {
		return
	}
	s.t.Say("Another version of Sealpost stored settings that this one does not know. %s", effect)
	for _, e := range ignored {
		s.t.hang("    ", "  - "+ascii(e.Message))
	}
}

// changeNetwork commits network settings on trial: a mistake can cut off the
// person who made it.
func (s *session) changeNetwork(ctx context.Context) error {
	u, dropped, err := s.editSettings(ctx)
	if err != nil {
		return err
	}
	s.sayIgnored(dropped, "A change that you apply here removes them:")
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
		s.t.Say("Nothing was changed.")
		return nil
	}
	_, err = s.commit(ctx, candidate.Candidate{Settings: text, Trial: true, Base: u.candidate.Base})
	return err
}

// settings shows the running settings, and accepts new ones.
func (s *session) settings(ctx context.Context) error {
	running, err := s.running(ctx)
	if err != nil {
		return err
	}
	// Unwrapped, so that they can be copied from the terminal.
	s.t.Print("\n" + printable.Text(running.Settings) + "\n")
	stored, err := settings.ParseStored([]byte(running.Settings), running.Schema)
	if err != nil {
		s.t.Say("%s", sentence(err))
	}
	s.sayIgnored(stored.Ignored, "They are ignored, but stay stored:")
	return s.choose(ctx, "Settings", "1", []choice{
		{"keep them", func(context.Context) error { return nil }},
		{"paste new ones", func(ctx context.Context) error {
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
	u, _, err := s.editSettings(ctx)
	if err != nil {
		return err
	}
	return s.test(ctx, u.draft.get("site.alert"))
}

func (s *session) clock(ctx context.Context) error {
	const form = "2006-01-02 15:04:05"
	s.t.Say("The box's time is %s UTC. It gets the time from time servers; set it here if none is reachable.", time.Now().UTC().Format(form))
	var t time.Time
	err := s.ask(ctx, question{"Time in UTC, such as " + time.Now().UTC().Format(form) + "; Ctrl-C goes back", "", func(answer string) (err error) {
		if t, err = time.Parse(form, answer); err != nil {
			err = invalidInput("That is not a time: type it as YYYY-MM-DD hh:mm:ss.")
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
	text := "This removes the PIN."
	if digits != "" {
		text = "This console will ask for the new PIN."
	}
	s.t.Say("%s", text)
	_, err = s.commit(ctx, candidate.Candidate{PIN: &digits})
	return err
}

func (s *session) restart(ctx context.Context) error {
	return s.sure(ctx, "The box restarts; it accepts no mail for about a minute.", "yes", "The box restarts.", s.box.Restart)
}

func (s *session) reset(ctx context.Context) error {
	return s.sure(ctx, "Settings, certificate, key and all queued mail are permanently erased.", "erase everything", "Erased; the box restarts.", s.box.FactoryReset)
}
