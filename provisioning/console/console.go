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

// Console is the dialogue on one line, one session after the other. It counts
// wrong PINs over all of them.
type Console struct {
	box   operator.Box
	wrong int       // PINs on end
	until time.Time // no PIN is taken before
}

// New returns a console of a box.
func New(box operator.Box) *Console { return &Console{box: box} }

// session is what one technician has begun.
type session struct {
	t       *terminal
	box     operator.Box
	console *Console
	onTrial bool // settings were, when last seen
	// noStorage tells that what was stored could not be read when last tried,
	// for the storage is not there: neither settings nor a PIN can be.
	noStorage bool
}

// Run talks over the line until it fails, with ErrGone, or ctx ends. One Run
// at a time; each session starts from the beginning. The caller closes the line after it.
func (c *Console) Run(ctx context.Context, line io.ReadWriter) error {
	t := newTerminal(line)
	defer t.Close()
	for {
		s := &session{t: t, box: c.box, console: c}
		err := s.run(ctx)
		switch {
		case errors.Is(err, errIdle):
			t.Print("\n")
			t.Say("Nobody typed anything for a while. What was not applied is forgotten.")
		case !errors.Is(err, errBack):
			return err
		}
	}
}

// run waits for Enter, then runs the setup or the menu.
func (s *session) run(ctx context.Context) error {
	if err := s.awaitSomebody(ctx); err != nil {
		return err
	}
	running, err := s.running(ctx)
	if err != nil && !s.noStorage {
		return err
	}
	if running.Locked {
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

// awaitSomebody waits for Enter, through whatever else the line says.
func (s *session) awaitSomebody(ctx context.Context) error {
	const invitation = "\nSealpost. Press Enter to begin. "
	s.t.Print(invitation)
	for {
		_, err := s.t.Line(ctx)
		var words invalidInput
		switch {
		case errors.Is(err, errBack):
			s.t.Print(invitation) // the line is quiet again
		case err == nil || !errors.As(err, &words) && !errors.Is(err, errIdle):
			return err
		}
	}
}

// running returns the settings in force; none in the factory state. A box that
// cannot tell them says why, and the session ends.
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
	// freeTries are the wrong PINs after which the pauses begin.
	freeTries = 10
	// longestPause is what they grow to.
	longestPause = 5 * time.Minute
)

// unlock asks for the PIN until it is right.
func (s *session) unlock(ctx context.Context) error {
	c := s.console
	return s.askUntilValid(ctx, func() error {
		if left := time.Until(c.until); left > 0 {
			s.t.Say("There were %d wrong PINs. The next is taken in %s minutes.", c.wrong, minutes(left))
			if err := s.t.Pause(ctx, left); err != nil {
				return err
			}
		}
		s.t.Print("PIN: ")
		digits, err := s.t.Secret(ctx)
		if err != nil {
			return err
		}
		right := false
		done, err := s.runCancellable(ctx, func(ctx context.Context) (err error) {
			right, err = s.box.Unlock(ctx, digits)
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
		c.count()
		return invalidInput("That is not the PIN. Who has lost it resets the box with its button.")
	})
}

// count counts a wrong PIN.
func (c *Console) count() {
	c.wrong++
	if over := c.wrong - freeTries; over >= 0 {
		pause := longestPause
		const doublings = 9 // 2^9 s is longer than any pause
		if over < doublings {
			pause = min(longestPause, time.Second<<over)
		}
		c.until = time.Now().Add(pause)
	}
}

// greet says which box this is.
func (s *session) greet(ctx context.Context) {
	s.t.Print("\n")
	status, err := s.box.Status(ctx)
	if err != nil {
		s.t.Say("%s", inWords(err))
		return
	}
	s.t.Say("%s, serial number %s, Sealpost %s", orElse(status.Model, "This box"), status.Serial, status.Version)
}

func orElse(words, other string) string {
	if words == "" {
		return other
	}
	return words
}
