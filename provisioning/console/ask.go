package console

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"
)

// none is what is typed to leave something out.
const none = "none"

// question is asked until its answer can be used.
type question struct {
	prompt string
	// preset is taken on Enter; empty for a question that wants an answer.
	preset string
	// use takes an answer, or says in words why it cannot.
	use func(answer string) error
}

// ask asks until an answer is valid. An answer that no person typed, such as
// noise or another box's console, is answered slower and slower.
func (s *session) ask(ctx context.Context, q question) error {
	return s.askUntilValid(ctx, func() error {
		s.t.Print(ascii(q.prompt))
		if q.preset != "" {
			s.t.Print(" [" + ascii(q.preset) + "]")
		}
		s.t.Print(": ")
		answer, err := s.t.Line(ctx)
		if err != nil {
			return err
		}
		if answer == "" {
			answer = q.preset
		}
		if answer == "" {
			return invalidInput("")
		}
		return q.use(answer)
	})
}

// askFor asks for something that may be left out, for which use gets "".
func (s *session) askFor(ctx context.Context, prompt, preset string, use func(string) error) error {
	if preset == "" {
		preset = none
	}
	return s.ask(ctx, question{prompt, preset, func(answer string) error {
		if answer == none {
			answer = ""
		}
		return use(answer)
	}})
}

// askUntilValid tries until the answer is of use.
func (s *session) askUntilValid(ctx context.Context, try func() error) error {
	const patient, longest = 5, 10 * time.Second
	for wrong := 0; ; wrong++ {
		err := try()
		var words invalidInput
		if !errors.As(err, &words) {
			return err
		}
		if words != "" {
			s.t.Say("%s", words)
		}
		if wrong >= patient {
			if err := s.t.Pause(ctx, min(longest, time.Duration(wrong-patient+1)*time.Second)); err != nil {
				return err
			}
		}
	}
}

// choice is one of several things to do.
type choice struct {
	name string
	do   func(context.Context) error
}

// choose shows the choices and does one of them, by its number.
func (s *session) choose(ctx context.Context, prompt, preset string, choices []choice) error {
	for i, c := range choices {
		s.t.Say("  %2d  %s", i+1, c.name)
	}
	var chosen choice
	err := s.ask(ctx, question{prompt, preset, func(answer string) error {
		for i, c := range choices {
			if answer == strconv.Itoa(i+1) || strings.EqualFold(answer, c.name) {
				chosen = c
				return nil
			}
		}
		return invalidInput("Type a number from 1 to " + strconv.Itoa(len(choices)) + ".")
	}})
	if err != nil {
		return err
	}
	return chosen.do(ctx)
}

// runCancellable has something done that takes time. Its error becomes words: only
// what ends the question at hand is given back.
func (s *session) runCancellable(ctx context.Context, do func(context.Context) error) (done bool, err error) {
	err = s.t.During(ctx, do)
	switch {
	case err == nil:
		return true, nil
	case ends(ctx, err):
		return false, err
	}
	s.t.Say("%s", inWords(err))
	return false, nil
}

// ends tells an error of the dialogue from one of the box.
func ends(ctx context.Context, err error) bool {
	return ctx.Err() != nil || errors.Is(err, errBack) || errors.Is(err, errIdle) || errors.Is(err, ErrGone)
}
