package dispatch

import (
	"testing"
	"time"
)

func TestAnOutageUsesUpNothingOfWhatAMailboxMaySend(t *testing.T) {
	inWorld(t, func(c *Config) { c.Limits = Limits{Connections: 3, Rate: Rate{Messages: 30}, PerDay: 100} }, func(w *world) {
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
