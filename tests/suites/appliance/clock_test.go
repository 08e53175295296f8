package appliance

import (
	"testing"
	"time"

	"sealpost/tests/rigs/lab"
	"sealpost/tests/rigs/parts"
	"sealpost/tests/rigs/site"
)

// mustHoldMailUntil checks that a box with an untrusted clock queues mail until the
// time servers are correct, and then delivers it.
func mustHoldMailUntil(t *testing.T, b *lab.Box, s *site.Site, correctTime func()) {
	t.Helper()
	b.SwitchOn(t)
	b.MustLog(t, lab.Serves, "clock not trusted")
	b.MustAccept(t)
	time.Sleep(2 * time.Second)
	if texts, err := s.Postfix.Messages(0); err != nil || len(texts) > 0 {
		t.Errorf("got %d messages from a box with an untrusted clock, %v, want 0", len(texts), err)
	}
	correctTime()
	queryServers(t, b)
	b.MustLog(t, "clock set")
	if _, err := s.Postfix.Messages(1); err != nil {
		t.Error(err)
	}
}

func TestClock_Of1970HoldsMailUntilATimeServerAnswers(t *testing.T) {
	s, b := lab.StartSite(t), lab.New(t)
	b.SetUp(t, lab.CandidateFor(s))
	b.RTC = "1970-01-01T00:00:00"
	if err := s.Time.Close(); err != nil {
		t.Fatal(err)
	}
	mustHoldMailUntil(t, b, s, func() {
		var err error
		if s.Time, err = parts.NewNTP("127.0.0.1:123"); err != nil {
			t.Fatal(err)
		}
	})
}

func TestClock_RecoversFromALyingTimeServer(t *testing.T) {
	s, b := lab.StartSite(t), lab.New(t)
	b.SetUp(t, lab.CandidateFor(s))
	const year = 365 * 24 * time.Hour
	s.Time.SetOffset(10 * year)
	mustHoldMailUntil(t, b, s, func() {
		// A box may have been off for this long, so the wrong time is believed, but
		// only until the server has the right one.
		s.Time.SetOffset(3*year - 30*24*time.Hour)
		queryServers(t, b)
		b.MustLog(t, "clock set")
		s.Time.SetOffset(0)
	})
	if err := b.AwaitLogTimes(2, "clock set"); err != nil {
		t.Error(err)
	}
}

// queryServers makes the box query the time servers at once, by unplugging its cable
// and plugging it in again.
func queryServers(t *testing.T, b *lab.Box) {
	t.Helper()
	mustLogAfter(t, b, noLink+" Plug", b.Unplug)
	if err := b.Plug(); err != nil {
		t.Fatal(err)
	}
}
