package console

import (
	"context"
	"errors"
	"io"
	"time"

	"sealpost/hal/fault"
	"sealpost/provisioning/candidate"
	"sealpost/provisioning/operator"
)

// Console runs one session after the other on a line. After wrong PINs it delays the
// next PIN, also in later sessions. The box counts wrong PINs across restarts and for
// all lines together.
type Console struct {
	box   operator.Box
	wrong int       // wrong PINs since the last right one, as last read from the box
	until time.Time // no PIN is accepted before this time
}

// New returns the console of a box.
func New(box operator.Box) *Console { return &Console{box: box} }

// session is one technician's dialogue.
type session struct {
	t       *terminal
	box     operator.Box
	console *Console
	onTrial bool // settings were on trial at the last status
	// noStorage is set while the storage is missing, so neither settings nor a
	// PIN can be read.
	noStorage bool
}

// Run serves the line until it fails, with ErrGone, or ctx ends. Only one Run
// may be active; the caller closes the line afterwards.
func (c *Console) Run(ctx context.Context, line io.ReadWriter) error {
	t := newTerminal(line)
	defer t.Close()
	for {
		s := &session{t: t, box: c.box, console: c}
		err := s.run(ctx)
		switch {
		case errors.Is(err, errIdle):
			t.Print("\n")
			t.Say("No input for a while: the session ended. Answers that were not applied are discarded.")
		case !errors.Is(err, errBack):
			return err
		}
	}
}

// run waits for Enter, then runs the setup or the menu.
func (s *session) run(ctx context.Context) error {
	if err := s.awaitEnter(ctx); err != nil {
		return err
	}
	running, err := s.running(ctx)
	if err != nil && !s.noStorage {
		return err
	}
	if running.Locked {
		if running.WrongPINs > s.console.wrong {
			s.console.delay(running.WrongPINs)
		}
		if err := s.unlock(ctx); err != nil {
			return err
		}
	}
	s.greet(ctx)
	for {
		running, err := s.running(ctx)
		switch {
		case s.noStorage:
			err = s.menuOf(ctx, s.choicesWithoutStorage())
		case err != nil:
			return err
		case running.Settings == "":
			err = s.setUp(ctx)
		default:
			err = s.menu(ctx)
		}
		if err != nil && !errors.Is(err, errBack) {
			return err
		}
	}
}

// awaitEnter waits for Enter on an empty line and ignores all other input, such as that of
// a computer that looks for a modem. What follows Enter at once is discarded too: until a
// computer that has just opened the line turns off its echo, it returns the banner.
func (s *session) awaitEnter(ctx context.Context) error {
	const banner = "\nSealpost. Press Enter to begin. "
	s.t.Print(banner)
	for {
		text, err := s.t.Line(ctx)
		var invalid invalidInput
		switch {
		case err == nil:
			if err := s.t.awaitQuiet(ctx); err != nil || text == "" {
				return err
			}
		case errors.Is(err, errBack):
			s.t.Print(banner) // after Ctrl-C
		case !errors.As(err, &invalid) && !errors.Is(err, errIdle):
			return err
		}
	}
}

// running returns the running configuration; an empty one in the factory state.
// If it cannot be read, running prints the reason and the session ends.
func (s *session) running(ctx context.Context) (candidate.Running, error) {
	var running candidate.Running
	done, err := s.runCancellable(ctx, func(ctx context.Context) (err error) {
		running, err = s.box.Running(ctx)
		s.noStorage = fault.CodeOf(err) == fault.NoStorage
		if errors.Is(err, candidate.ErrFactory) {
			return nil
		}
		return err
	})
	if err == nil && !done && !s.noStorage {
		err = s.t.Pause(ctx, time.Second)
	}
	if err == nil && !done {
		err = errBack
	}
	return running, err
}

const (
	// freePINs is the number of wrong PINs after which delays begin.
	freePINs = 10
	// maxPINDelay is the longest of these delays.
	maxPINDelay = 5 * time.Minute
)

// unlock asks for the PIN until it is right.
func (s *session) unlock(ctx context.Context) error {
	c := s.console
	return s.askUntilValid(ctx, func() error {
		if left := time.Until(c.until); left > 0 {
			s.t.Say("There were %d wrong PINs. The next is accepted in %s minutes.", c.wrong, minutes(left))
			if err := s.t.Pause(ctx, left); err != nil {
				return err
			}
		}
		s.t.Print("PIN: ")
		digits, err := s.t.Secret(ctx)
		if err != nil {
			return err
		}
		right, wrong := false, 0
		done, err := s.runCancellable(ctx, func(ctx context.Context) (err error) {
			right, wrong, err = s.box.Unlock(ctx, digits)
			return err
		})
		switch {
		case err != nil:
			return err
		case right:
			c.wrong = 0
			return nil
		case !done || digits == "":
			return invalidInput("")
		}
		// The box's count has a maximum, and does not grow if flash cannot be written.
		c.delay(max(wrong, c.wrong+1))
		return invalidInput("That is not the PIN. If it is lost, reset the box with its button.")
	})
}

// delay sets the delay before the next PIN. After a restart the delay starts again in
// full, because the box may not know the time.
func (c *Console) delay(wrong int) {
	c.wrong = wrong
	if over := wrong - freePINs; over >= 0 {
		pause := maxPINDelay
		const doublings = 9 // 2^9 s is longer than the longest delay
		if over < doublings {
			pause = min(maxPINDelay, time.Second<<over)
		}
		c.until = time.Now().Add(pause)
	}
}

// greet prints the model, serial number and version of the box.
func (s *session) greet(ctx context.Context) {
	s.t.Print("\n")
	status, err := s.box.Status(ctx)
	if err != nil {
		s.t.Say("%s", sentence(err))
		return
	}
	s.t.Say("%s, serial number %s, Sealpost %s", orElse(status.Model, "This box"), status.Serial, status.Version)
}

func orElse(text, fallback string) string {
	if text == "" {
		return fallback
	}
	return text
}
