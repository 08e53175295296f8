package appliance

import (
	"strings"
	"testing"
	"time"

	"sealpost/tests/rigs/lab"
	"sealpost/tests/rigs/parts"
	"sealpost/tests/rigs/site"
)

// arrivesOnlyThen checks that a message which the box kept for want of the time
// leaves when the time servers tell the truth, and not before.
func arrivesOnlyThen(t *testing.T, b *lab.Box, s *site.Site, tellTruth func()) {
	t.Helper()
	b.SwitchOn(t)
	b.AwaitWords(t, lab.Serves, "clock not trusted")
	b.Keeps(t)
	time.Sleep(2 * time.Second)
	if texts, err := s.Postfix.Messages(0); err != nil || len(texts) > 0 {
		t.Errorf("%d messages left a box that does not know the time, %v", len(texts), err)
	}
	tellTruth()
	// A cable that comes back has the time servers asked at once.
	const noLink = "There is no link on eth0. Plug"
	lost := strings.Count(b.KernelLog(), noLink)
	if err := b.Unplug(); err != nil {
		t.Fatal(err)
	}
	if err := b.AwaitLogTimes(lost+1, noLink); err != nil {
		t.Fatal(err)
	}
	if err := b.Plug(); err != nil {
		t.Fatal(err)
	}
	b.AwaitWords(t, "clock set")
	if _, err := s.Postfix.Messages(1); err != nil {
		t.Error(err)
	}
}

func TestABoxInTheYear1970KeepsMailUntilATimeServerAnswers(t *testing.T) {
	s, b := lab.OpenSite(t), lab.New(t)
	b.SetUp(t, lab.FullyFor(s))
	b.RTC = "1970-01-01T00:00:00"
	if err := s.Time.Close(); err != nil {
		t.Fatal(err)
	}
	arrivesOnlyThen(t, b, s, func() {
		var err error
		if s.Time, err = parts.NewNTP("127.0.0.1:123"); err != nil {
			t.Fatal(err)
		}
	})
}

func TestATimeServerThatLiesByTenYearsIsNotBelieved(t *testing.T) {
	s, b := lab.OpenSite(t), lab.New(t)
	b.SetUp(t, lab.FullyFor(s))
	s.Time.Lie(10 * 365 * 24 * time.Hour)
	arrivesOnlyThen(t, b, s, func() { s.Time.Lie(0) })
}
