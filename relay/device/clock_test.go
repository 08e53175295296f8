package device

import (
	"net/netip"
	"testing"
	"time"
)

// sendDaily has a device send a message a day.
func sendDaily(s *site, days int) {
	for range days {
		s.sends("192.168.10.20")
		s.at = s.at.Add(24 * time.Hour)
	}
}

// restarted returns the site after a time without a relay.
func (s *site) restarted(t *testing.T, off time.Duration) *site {
	t.Helper()
	text, _, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	next := &site{at: s.at.Add(off)}
	next.Registry = New(func() time.Time { return next.at })
	if err := next.Restore(text); err != nil {
		t.Fatal(err)
	}
	return next
}

func TestSilent_ReportsADeviceAfterTheRelayWasOffForLong(t *testing.T) {
	s := newSite()
	sendDaily(s, 21)
	s = s.restarted(t, 60*24*time.Hour)
	sendDaily(s, 14)
	if s.at = s.at.Add(24 * time.Hour); len(s.silent(byHabit)) != 1 {
		d, _ := s.Find(netip.MustParseAddr("192.168.10.20"))
		t.Errorf("two days after the last message: got no alert, its longest pause is %v", d.Habit.Gap)
	}
}

func TestSilent_ReportsADeviceThatSentWhileTheClockWasWrong(t *testing.T) {
	for name, wrong := range map[string]time.Duration{"ahead": 20 * 365 * 24 * time.Hour, "behind": -20 * 365 * 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			s := newSite()
			sendDaily(s, 21)
			s = s.restarted(t, wrong)
			s.sends("192.168.10.20")
			s = s.restarted(t, -wrong)
			s.silent(byHabit)
			sendDaily(s, 14)
			d, _ := s.Find(netip.MustParseAddr("192.168.10.20"))
			if d.Last.After(s.at) || d.LastSent.After(s.at) || d.FirstSent.After(s.at) {
				t.Errorf("got times after now: %+v", d)
			}
			if s.at = s.at.Add(24 * time.Hour); len(s.silent(byHabit)) != 1 {
				t.Errorf("two days after the last message: got no alert: %+v", d.Habit)
			}
		})
	}
}

func TestRecord_KeepsTheHabitWhileTheClockIsBehind(t *testing.T) {
	s := newSite()
	sendDaily(s, 21)
	s = s.restarted(t, -20*365*24*time.Hour)
	s.sends("192.168.10.20")
	s = s.restarted(t, 20*365*24*time.Hour)
	if s.at = s.at.Add(48 * time.Hour); len(s.silent(byHabit)) != 1 {
		t.Error("two days after the start: got no alert, want the habit from before")
	}
}

func TestEncode_IsRepeatedAfterAFailure(t *testing.T) {
	s := newSite()
	s.sends("192.168.10.20")
	if _, changed, err := s.Encode(); err != nil || !changed {
		t.Fatal(changed, err)
	}
	s.NotStored()
	if text, changed, err := s.Encode(); err != nil || !changed || len(text) == 0 {
		t.Errorf("got %q, %v, %v, want the devices again", text, changed, err)
	}
}
