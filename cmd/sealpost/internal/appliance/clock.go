package appliance

import (
	"context"
	"errors"
	"sync"
	"time"

	"sealpost/hal/linux/clock"
	"sealpost/provisioning/state"
)

// sectionClock is the section of the settings area with the last known time.
const sectionClock = "clock"

// timekeeper sets the clock from time servers or from a person, and stores the
// last known time.
type timekeeper struct {
	*group
	storage *storage
	made    time.Time     // when the program was built
	again   chan struct{} // queries the servers at once

	mu    sync.Mutex
	doubt string // why the clock is not trusted
}

func newTimekeeper(g *group, s *storage, made time.Time) *timekeeper {
	return &timekeeper{group: g, storage: s, made: made, again: make(chan struct{}, 1)}
}

// start queries the time servers, which the network configuration names.
func (t *timekeeper) start(servers func() []string) {
	syncer := &clock.Syncer{
		Past:    t.past(t.ctx),
		Servers: servers,
		Note:    t.note,
		Stepped: func(offset time.Duration, from string) {
			t.setDoubt("")
			t.journal.ClockStepped(offset, from)
		},
		Doubt: func(err error) {
			t.setDoubt(err.Error())
			t.journal.ClockDoubted(err)
		},
		Again: t.again,
	}
	t.spawn(syncer.Run)
}

// askAgain queries the time servers at once, for example after a network change.
func (t *timekeeper) askAgain() {
	select {
	case t.again <- struct{}{}:
	default:
	}
}

// past returns the latest time that is known to be past.
func (t *timekeeper) past(ctx context.Context) time.Time {
	if t.storage.store == nil {
		return t.made
	}
	sections, err := t.storage.store.Load(ctx)
	if err != nil {
		return t.made
	}
	if noted, err := time.Parse(time.RFC3339, string(sections[sectionClock])); err == nil && noted.After(t.made) {
		return noted
	}
	return t.made
}

// note stores a time for the next start.
func (t *timekeeper) note(now time.Time) {
	if t.storage.store == nil {
		return
	}
	t.try("clock", t.storage.store.Update(context.Background(), func(sections state.Sections) error {
		sections[sectionClock] = []byte(now.UTC().Format(time.RFC3339))
		return nil
	}))
}

// set sets the clock to a time that a person entered.
func (t *timekeeper) set(now time.Time) error {
	if err := clock.Plausible(t.past(context.Background()), now); err != nil {
		return err
	}
	step := time.Until(now)
	if err := errors.Join(clock.Set(now), clock.Trust()); err != nil {
		return err
	}
	t.setDoubt("")
	t.journal.ClockStepped(step, "the console")
	t.note(now)
	return nil
}

func (t *timekeeper) setDoubt(words string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.doubt = words
}

// doubts returns why the clock is not trusted; empty if it is.
func (t *timekeeper) doubts() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.doubt
}
