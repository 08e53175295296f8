package dispatch

import (
	"fmt"
	"testing"
	"time"

	"sealpost/relay/dispatch/throttle"
	"sealpost/relay/envelope"
	"sealpost/relay/reply"
)

// ofClient gives each client a mailbox of its own, and the box's notifications
// one.
func ofClient(e envelope.Envelope) string {
	if e.Report {
		return "box@contoso.com"
	}
	return fmt.Sprintf("%d@contoso.com", e.Client.As4()[3])
}

func perMailbox(c *setup) {
	c.Limits = throttle.Limits{Connections: 6, PerAccount: 3, Rate: throttle.Rate{Messages: 30}, PerDay: 1000}
}

// between is how far the messages of a client are apart at least, so many of
// them apart.
func between(offers []heard, account string, n int) time.Duration {
	var times []time.Time
	for _, o := range offers {
		if ofClient(o.envelope) == account {
			times = append(times, o.at)
		}
	}
	least := day
	for i := n; i < len(times); i++ {
		least = min(least, times[i].Sub(times[i-n]))
	}
	return least
}

func TestAMailboxAtItsLimitLeavesTheOthersTheirs(t *testing.T) {
	for _, restarted := range []bool{false, true} {
		inWorld(t, perMailbox, func(w *world) {
			w.far.be(func(f *farSide) { f.account = ofClient })
			if restarted {
				w.far.be(func(f *farSide) { f.down = unreachableHost })
			}
			for range 60 {
				w.send(1, 100)
			}
			for range 25 {
				w.send(2, 100)
			}
			if restarted {
				w.far.be(func(f *farSide) { f.down = nil })
				w.restart()
				time.Sleep(10 * time.Second)
			}
			count := map[string]int{}
			for _, h := range w.far.got() {
				count[ofClient(h.envelope)]++
			}
			if count["1@contoso.com"] != 30 || count["2@contoso.com"] != 25 {
				t.Errorf("restarted: %v: at once came %v", restarted, count)
			}
			time.Sleep(2 * time.Minute)
			if n := len(w.far.got()); n != 85 || w.kept() != 0 || w.owners() != 0 {
				t.Errorf("restarted: %v: %d arrived, %d kept, %d owners", restarted, n, w.kept(), w.owners())
			}
			if apart := between(w.far.offered(), "1@contoso.com", 30); apart < time.Minute && !restarted {
				t.Errorf("31 messages of one mailbox went out within %s", apart)
			}
		})
	}
}

func TestWhatOneMailboxLearnsIsNotTheOthers(t *testing.T) {
	inWorld(t, perMailbox, func(w *world) {
		w.far.be(func(f *farSide) {
			f.account = ofClient
			f.delay = func(envelope.Envelope) time.Duration { return time.Second }
			f.answer = func(e envelope.Envelope, _ envelope.Address) reply.Reply {
				if ofClient(e) == "1@contoso.com" {
					return crowded
				}
				return ok
			}
		})
		for i := range 6 {
			go w.sendAs(fmt.Sprint("burst", i), 1+i%2, 100)
		}
		time.Sleep(30 * time.Second)
		w.far.be(func(f *farSide) { f.answer = nil })
		time.Sleep(5 * time.Minute)
		if slots := w.d.Status().Slots; slots > 5 || w.kept() != 0 {
			t.Errorf("%d connections may be used, %d kept", slots, w.kept())
		}
		w.d.mu.Lock()
		defer w.d.mu.Unlock()
		for name, want := range map[string]int{"1@contoso.com": 1, "2@contoso.com": 3} {
			if slots := w.d.route.throttle.Account(name, time.Now()).Slots(time.Now()); slots != want {
				t.Errorf("%s may use %d connections", name, slots)
			}
		}
	})
}
