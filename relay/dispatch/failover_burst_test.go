package dispatch

import (
	"fmt"
	"testing"
	"time"

	"sealpost/relay/dispatch/throttle"
	"sealpost/relay/envelope"
)

// mostWithin returns the most transactions in any period of that length.
func mostWithin(all []transaction, period time.Duration) int {
	most, first := 0, 0
	for i := range all {
		for all[i].at.Sub(all[first].at) >= period {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}

func TestRoutes_KeepTheirLimitsInABurst(t *testing.T) {
	const messages = 2000
	first := throttle.Limits{Connections: 4, Rate: throttle.Rate{Messages: 60}, PerDay: 1500}
	second := throttle.Limits{Connections: 3, PerAccount: 3, Rate: throttle.Rate{Messages: 30}, PerDay: 700}
	withRoutes(t, func(c *setup) { c.Limits, c.others[0].Limits = first, second }, func(w *harness, one, two *fakeUpstream) {
		for _, f := range []*fakeUpstream{one, two} {
			f.set(func(f *fakeUpstream) {
				f.delay = func(envelope.Envelope) time.Duration { return 200 * time.Millisecond }
			})
		}
		two.set(func(f *fakeUpstream) { f.account = func(envelope.Envelope) string { return "box@contoso.com" } })
		for n := range messages {
			go w.sendAs(fmt.Sprint("B", n), n%20, 100)
		}
		// The first route fails for twenty minutes of each half hour, and restarts come between.
		for round := range 8 {
			one.set(func(f *fakeUpstream) { f.fail = nil })
			time.Sleep(10 * time.Minute)
			one.set(func(f *fakeUpstream) { f.fail = unreachableHost })
			time.Sleep(20 * time.Minute)
			if round%3 == 0 {
				w.restart()
			}
			s := w.d.Status()
			for i, limits := range []throttle.Limits{first, second} {
				if s.Routes[i].Recipients > limits.PerDay || s.Routes[i].Slots > limits.Connections {
					t.Errorf("got a ledger of %+v, want at most %+v", s.Routes[i], limits)
				}
			}
		}
		one.set(func(f *fakeUpstream) { f.fail = nil })
		time.Sleep(3 * day)
		for _, c := range []struct {
			name   string
			server *fakeUpstream
			limits throttle.Limits
		}{{"first", one, first}, {"second", two, second}} {
			all := c.server.accepted()
			minute, day := mostWithin(all, time.Minute), mostWithin(all, 24*time.Hour)
			t.Logf("%s: %d messages, at most %d a minute, %d a day", c.name, len(all), minute, day)
			// A restart forgets the last minute.
			if minute > 2*c.limits.Rate.Messages || day > c.limits.PerDay || len(all) == 0 {
				t.Errorf("%s: got %d messages in a minute, %d in a day, want at most %+v", c.name, minute, day, c.limits)
			}
			c.server.set(func(f *fakeUpstream) {
				if f.mostOpen > c.limits.Connections {
					t.Errorf("%s: got %d connections, want at most %d", c.name, f.mostOpen, c.limits.Connections)
				}
			})
		}
		if n := len(one.accepted()) + len(two.accepted()); n != messages || w.queued() != 0 {
			t.Errorf("got %d messages of %d, %d queued", n, messages, w.queued())
		}
	})
}
