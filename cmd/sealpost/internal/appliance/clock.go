package appliance

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"sync"
	"time"

	"sealpost/hal/linux/clock"
	"sealpost/provisioning/state"
)

// sectionClock is the section of the settings area that stores the last known time.
const sectionClock = "clock"

// timekeeper sets the clock from time servers or by hand, and stores the last known
// time.
type timekeeper struct {
	*group
	storage  *storage
	syncer   *clock.Syncer
	queryNow chan struct{} // makes the syncer query the servers at once

	mu    sync.Mutex
	doubt string // why the clock is not trusted
}

// newTimekeeper sets the clock to the last time that is known. built is when the
// program was built; ntp and https return the servers to ask, and https also the
// authorities to verify them by.
func newTimekeeper(g *group, s *storage, built time.Time, ntp func() []string, https func() ([]string, *x509.CertPool)) *timekeeper {
	t := &timekeeper{group: g, storage: s, queryNow: make(chan struct{}, 1)}
	t.syncer = clock.New(clock.Config{
		Built: built, Stored: t.load(), Servers: ntp, HTTPS: https, Store: t.store,
		Stepped: func(offset time.Duration, from string) {
			t.setDoubt("")
			t.journal.ClockStepped(offset, from)
		},
		Doubt: func(err error) {
			t.setDoubt(err.Error())
			t.journal.ClockDoubted(err)
		},
		QueryNow: t.queryNow,
	})
	return t
}

func (t *timekeeper) start() { t.spawn(t.syncer.Run) }

// queryServers queries the time servers at once, such as those of a new network.
func (t *timekeeper) queryServers() {
	select {
	case t.queryNow <- struct{}{}:
	default:
	}
}

func (t *timekeeper) load() (r clock.Record) {
	if t.storage.store == nil {
		return r
	}
	sections, err := t.storage.store.Load(t.ctx)
	if err != nil || json.Unmarshal(sections[sectionClock], &r) != nil {
		return clock.Record{} // the storage reports its errors
	}
	return r
}

func (t *timekeeper) store(r clock.Record) {
	if t.storage.store == nil {
		return
	}
	t.logFault("clock", t.storage.store.Update(context.WithoutCancel(t.ctx), func(sections state.Sections) error {
		text, err := json.Marshal(r)
		sections[sectionClock] = text
		return err
	}))
}

func (t *timekeeper) setDoubt(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.doubt = text
}

// doubts returns why the clock is not trusted; it is empty if the clock is trusted.
func (t *timekeeper) doubts() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.doubt
}
