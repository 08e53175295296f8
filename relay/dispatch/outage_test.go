package dispatch

import (
	"testing"
	"time"

	"sealpost/relay/dispatch/throttle"
)

func TestThrottle_IsNotUsedUpByAnOutage(t *testing.T) {
	withHarness(t, func(c *setup) {
		c.Limits = throttle.Limits{Connections: 3, Rate: throttle.Rate{Messages: 30}, PerDay: 100}
	}, func(w *harness) {
		w.upstream.set(func(f *fakeUpstream) { f.fail = unreachableHost })
		w.send(1, 100)
		time.Sleep(day / 2)
		w.upstream.set(func(f *fakeUpstream) { f.fail = nil })
		time.Sleep(time.Hour)
		if n := len(w.upstream.accepted()); n != 1 {
			t.Errorf("an hour after the outage: got %d delivered, want 1", n)
		}
	})
}
