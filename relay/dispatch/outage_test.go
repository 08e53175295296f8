package dispatch

import (
	"testing"
	"time"

	"sealpost/relay/dispatch/throttle"
)

func TestAnOutageUsesUpNothingOfWhatAMailboxMaySend(t *testing.T) {
	inWorld(t, func(c *setup) {
		c.Limits = throttle.Limits{Connections: 3, Rate: throttle.Rate{Messages: 30}, PerDay: 100}
	}, func(w *world) {
		w.far.be(func(f *farSide) { f.down = unreachableHost })
		w.send(1, 100)
		time.Sleep(day / 2)
		w.far.be(func(f *farSide) { f.down = nil })
		time.Sleep(time.Hour)
		if n := len(w.far.got()); n != 1 {
			t.Errorf("an hour after the outage %d messages have arrived", n)
		}
	})
}
