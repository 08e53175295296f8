package dispatch

import (
	"fmt"
	"testing"
	"time"

	"sealpost/relay/dispatch/throttle"
	"sealpost/relay/envelope"
	"sealpost/relay/reply"
)

// accountByClient maps each client to its own mailbox, and notifications to one
// more.
func accountByClient(e envelope.Envelope) string {
	if e.Report {
		return "box@contoso.com"
	}
	return fmt.Sprintf("%d@contoso.com", e.Client.As4()[3])
}

func limitPerMailbox(c *setup) {
	c.Limits = throttle.Limits{Connections: 6, PerAccount: 3, Rate: throttle.Rate{Messages: 30}, PerDay: 1000}
}

// minSpacing returns the shortest time between a message of the account and the
// n-th after it.
func minSpacing(offers []transaction, account string, n int) time.Duration {
	var times []time.Time
	for _, o := range offers {
		if accountByClient(o.envelope) == account {
			times = append(times, o.at)
		}
	}
	least := day
	for i := n; i < len(times); i++ {
		least = min(least, times[i].Sub(times[i-n]))
	}
	return least
}

func TestThrottle_LimitsEachMailboxSeparately(t *testing.T) {
	for _, restarted := range []bool{false, true} {
		withHarness(t, limitPerMailbox, func(w *harness) {
			w.upstream.set(func(f *fakeUpstream) { f.account = accountByClient })
			if restarted {
				w.upstream.set(func(f *fakeUpstream) { f.fail = unreachableHost })
			}
			for range 60 {
				w.send(1, 100)
			}
			for range 25 {
				w.send(2, 100)
			}
			if restarted {
				w.upstream.set(func(f *fakeUpstream) { f.fail = nil })
				w.restart()
				time.Sleep(10 * time.Second)
			}
			count := map[string]int{}
			for _, h := range w.upstream.accepted() {
				count[accountByClient(h.envelope)]++
			}
			if count["1@contoso.com"] != 30 || count["2@contoso.com"] != 25 {
				t.Errorf("restarted %v: got %v delivered at once, want 30 and 25", restarted, count)
			}
			time.Sleep(2 * time.Minute)
			if n := len(w.upstream.accepted()); n != 85 || w.queued() != 0 || w.assigned() != 0 {
				t.Errorf("restarted %v: got %d delivered, %d queued, %d assigned; want 85, 0 and 0", restarted, n, w.queued(), w.assigned())
			}
			if apart := minSpacing(w.upstream.offered(), "1@contoso.com", 30); apart < time.Minute && !restarted {
				t.Errorf("got 31 messages of one mailbox within %s, want at least 1m", apart)
			}
		})
	}
}

func TestThrottle_AdaptsEachMailboxSeparately(t *testing.T) {
	withHarness(t, limitPerMailbox, func(w *harness) {
		w.upstream.set(func(f *fakeUpstream) {
			f.account = accountByClient
			f.delay = func(envelope.Envelope) time.Duration { return time.Second }
			f.rcptReply = func(e envelope.Envelope, _ envelope.Address) reply.Reply {
				if accountByClient(e) == "1@contoso.com" {
					return tooManyConnections
				}
				return rcptOK
			}
		})
		for i := range 6 {
			go w.sendAs(fmt.Sprint("burst", i), 1+i%2, 100)
		}
		time.Sleep(30 * time.Second)
		w.upstream.set(func(f *fakeUpstream) { f.rcptReply = nil })
		time.Sleep(5 * time.Minute)
		if slots := w.d.Status().Slots; slots > 5 || w.queued() != 0 {
			t.Errorf("got %d slots, %d queued, want at most 5 and 0", slots, w.queued())
		}
		w.d.mu.Lock()
		defer w.d.mu.Unlock()
		for name, want := range map[string]int{"1@contoso.com": 1, "2@contoso.com": 3} {
			if slots := w.d.routes[0].throttle.Account(name, time.Now()).Slots(time.Now()); slots != want {
				t.Errorf("%s: got %d slots, want %d", name, slots, want)
			}
		}
	})
}
