package candidate

import (
	"errors"
	"time"
)

// stored is the part of the settings area that a confirmed commit uses: the settings,
// those before the trial, and whether there is a trial.
type stored struct {
	text, before string
	trial        bool
}

// commit stores a text, as another process does.
func (s *stored) commit(text string, trial bool) {
	switch {
	case !trial || s.text == "":
		s.before, s.trial = "", false
	case !s.trial:
		s.before, s.trial = s.text, true
	}
	s.text = text
}

// undo ends a trial and restores the text before it.
func (s *stored) undo() {
	if s.trial {
		*s = stored{text: s.before}
	}
}

// keep ends a trial and keeps its text.
func (s *stored) keep() { s.before, s.trial = "", false }

// model is the expected behaviour of a ConfirmedCommit: which settings are in force,
// what a rollback restores, and when. It has no locks, timers or flash errors.
type model struct {
	stored  stored
	inForce string
	now     time.Time

	// faults is how many of the next writes of the first process return an error. If
	// written is set, they take effect nevertheless.
	faults  int
	written bool

	trial     bool   // its timer runs
	text      string // on trial
	ends, due time.Time
	pause     time.Duration
	attempted bool
}

// errInjected is the error of a write that fails on purpose.
var errInjected = errors.New("injected fault")

// write is a write of the first process. It fails if a fault was injected.
func (m *model) write(change func(*stored)) error {
	if m.faults == 0 {
		change(&m.stored)
		return nil
	}
	m.faults--
	if m.written {
		change(&m.stored)
	}
	return errInjected
}

func (m *model) beginTrial() {
	m.trial, m.text, m.attempted = true, m.stored.text, false
	m.ends, m.pause = m.now.Add(ConfirmTimeout), firstRollbackDelay
	m.due = m.ends
}

func (m *model) endTrial() { m.trial, m.inForce = false, m.stored.text }

func (m *model) applied() error {
	m.endTrial()
	if m.stored.trial {
		m.beginTrial()
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
		m.endTrial()
	}
	return err
}

// start is a boot: the settings are read after the rollback.
func (m *model) start() error {
	err := m.write((*stored).undo)
	m.endTrial()
	if err != nil && m.stored.trial {
		m.beginTrial()
		m.ends, m.attempted = m.now, true
		m.delayNext()
	}
	return err
}

// delayNext sets the time of the next attempt.
func (m *model) delayNext() {
	m.due, m.pause = m.now.Add(m.pause), min(2*m.pause, maxRollbackDelay)
}

// advance lets time pass, and does everything that is due.
func (m *model) advance(d time.Duration) error {
	until := m.now.Add(d)
	for m.trial && !m.due.After(until) {
		m.now = m.due
		switch changed := m.stored.text != m.text; {
		case changed && m.attempted && !m.stored.trial:
			m.endTrial()
		case changed:
			m.beginTrial()
		default:
			if m.rollBack() != nil {
				m.delayNext()
			}
		}
	}
	m.now = until
	return nil
}
