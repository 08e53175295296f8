package candidate

import (
	"errors"
	"time"
)

// stored is what the settings area holds of settings.
type stored struct {
	text, before string
	trial        bool
}

// commit stores a text as other processes do.
func (s *stored) commit(text string, trial bool) {
	switch {
	case !trial || s.text == "":
		s.before, s.trial = "", false
	case !s.trial:
		s.before, s.trial = s.text, true
	}
	s.text = text
}

// undo ends a trial with the text before it.
func (s *stored) undo() {
	if s.trial {
		*s = stored{text: s.before}
	}
}

// keep ends a trial with its own text.
func (s *stored) keep() { s.before, s.trial = "", false }

// model is what a ConfirmedCommit is to do: what is in force, what it goes back
// to, and when. It has no locks, timers or errors of a flash.
type model struct {
	stored  stored
	inForce string
	now     time.Time

	// faults is how many writes of the first process fail from now on; stuck
	// tells that they are done all the same.
	faults int
	stuck  bool

	trial     bool   // its time runs
	text      string // that is on trial
	ends, due time.Time
	pause     time.Duration
	attempted bool
}

// errInjected is the error of a write that was told to fail.
var errInjected = errors.New("injected fault")

// write does a write of the first process, unless it is to fail.
func (m *model) write(change func(*stored)) error {
	if m.faults == 0 {
		change(&m.stored)
		return nil
	}
	m.faults--
	if m.stuck {
		change(&m.stored)
	}
	return errInjected
}

func (m *model) begin() {
	m.trial, m.text, m.attempted = true, m.stored.text, false
	m.ends, m.pause = m.now.Add(ConfirmTimeout), firstRollbackDelay
	m.due = m.ends
}

func (m *model) over() { m.trial, m.inForce = false, m.stored.text }

func (m *model) applied() error {
	m.over()
	if m.stored.trial {
		m.begin()
	}
	return nil
}

func (m *model) confirm() error {
	if !m.trial {
		return ErrNoTrial
	}
	if m.stored.text != m.text {
		return ErrOvertaken
	}
	err := m.write((*stored).keep)
	m.trial = err != nil
	return err
}

func (m *model) rollBack() error {
	err := m.write((*stored).undo)
	if m.attempted = m.attempted || err != nil; err == nil {
		m.over()
	}
	return err
}

// start is a boot: its reader of settings comes after the rollback.
func (m *model) start() error {
	err := m.write((*stored).undo)
	m.over()
	if err != nil && m.stored.trial {
		m.begin()
		m.ends, m.attempted = m.now, true
		m.delayNext()
	}
	return err
}

// delayNext sets the time of the next attempt.
func (m *model) delayNext() {
	m.due, m.pause = m.now.Add(m.pause), min(2*m.pause, maxRollbackDelay)
}

// pass lets time pass, and does everything that is due.
func (m *model) pass(d time.Duration) error {
	until := m.now.Add(d)
	for m.trial && !m.due.After(until) {
		m.now = m.due
		switch changed := m.stored.text != m.text; {
		case changed && m.attempted && !m.stored.trial:
			m.over()
		case changed:
			m.begin()
		default:
			if m.rollBack() != nil {
				m.delayNext()
			}
		}
	}
	m.now = until
	return nil
}
