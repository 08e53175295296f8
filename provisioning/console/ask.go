package console

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"
)

// none is the answer that leaves a value empty.
const none = "none"

// question is asked until its answer is valid.
type question struct {
	prompt string
	// preset is the answer on Enter; empty if an answer must be typed.
	preset string
	// use stores a valid answer, or returns invalidInput.
	use func(answer string) error
}

// ask asks until an answer is valid. Repeated invalid answers, such as noise or
// the output of another box's console, are answered after growing delays.
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

// askOptional asks for a value that may be empty: for none, use gets "".
func (s *session) askOptional(ctx context.Context, prompt, preset string, use func(string) error) error {
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

// askUntilValid calls try until it returns no invalidInput.
func (s *session) askUntilValid(ctx context.Context, try func() error) error {
	const freeTries, maxDelay = 5, 10 * time.Second
	for wrong := 0; ; wrong++ {
		err := try()
		var invalid invalidInput
		if !errors.As(err, &invalid) {
			return err
		}
		if invalid != "" {
			s.t.Say("%s", invalid)
		}
		if wrong >= freeTries {
			if err := s.t.Pause(ctx, min(maxDelay, time.Duration(wrong-freeTries+1)*time.Second)); err != nil {
				return err
			}
		}
	}
}

// choice is one entry of a menu.
type choice struct {
	name string
	do   func(context.Context) error
}

// choose shows the choices and runs the one whose number or name is typed. What follows a
// colon in a name explains it.
func (s *session) choose(ctx context.Context, prompt, preset string, choices []choice) error {
	for i, c := range choices {
		s.t.Say("  %2d  %s", i+1, c.name)
	}
	var chosen choice
	err := s.ask(ctx, question{prompt, preset, func(answer string) error {
		for i, c := range choices {
			name, _, _ := strings.Cut(c.name, ":")
			if answer == strconv.Itoa(i+1) || strings.EqualFold(answer, name) {
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

// runCancellable runs do, which Ctrl-C cancels. It prints an error of the box;
// it returns only an error that ends the question.
func (s *session) runCancellable(ctx context.Context, do func(context.Context) error) (done bool, err error) {
	err = s.t.During(ctx, do)
	switch {
	case err == nil:
		return true, nil
	case ends(ctx, err):
		return false, err
	}
	s.t.Say("%s", sentence(err))
	return false, nil
}

// ends reports whether an error ends the question: one of the dialogue, not of
// the box.
func ends(ctx context.Context, err error) bool {
	return ctx.Err() != nil || errors.Is(err, errBack) || errors.Is(err, errIdle) || errors.Is(err, ErrGone)
}
