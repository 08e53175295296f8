package dispatch

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sealpost/relay/envelope"
	"sealpost/relay/reply"
	"sealpost/relay/spool"
)

// ofClient gives each client a mailbox of its own, and the box's notifications
// one.
func ofClient(e envelope.Envelope) string {
	if e.Report {
		return "box@contoso.com"
	}
	return fmt.Sprintf("%d@contoso.com", e.Client.As4()[3])
}

func perMailbox(c *Config) {
	c.Limits = Limits{Connections: 6, PerAccount: 3, Rate: Rate{Messages: 30}, PerDay: 1000}
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
			if slots := w.d.ledger.of(name, time.Now()).slots(time.Now()); slots != want {
				t.Errorf("%s may use %d connections", name, slots)
			}
		}
	})
}

func TestTheLedgerIsBoundedInMemoryAndOnFlash(t *testing.T) {
	l, now := newLedger(Limits{Connections: 3, PerDay: 10_000}, usual.Retry), time.Now()
	for i := range 10 * mostAccounts {
		a := l.of(fmt.Sprintf("%s%d@contoso.com", strings.Repeat("x", 60), i), now)
		for hour := range 24 {
			a.addressed(now.Add(time.Duration(hour-23)*time.Hour), 400+i)
		}
	}
	if len(l.accounts) > mostAccounts+1 {
		t.Errorf("%d accounts", len(l.accounts))
	}
	text := l.save(now)
	if len(text) == 0 || len(text) > spool.MaxMemo {
		t.Fatalf("a memo of %d octets", len(text))
	}
	again := newLedger(l.limits, l.retry)
	again.restore(text, now)
	if len(again.accounts) < 8 || again.recipients(now) == 0 {
		t.Errorf("%d accounts come back, with %d recipients", len(again.accounts), again.recipients(now))
	}
	for name, a := range again.accounts {
		if got, want := a.day.total(now), l.accounts[name].day.total(now); got != want {
			t.Errorf("%s has %d of %d", name, got, want)
		}
	}
	if later := l.of("new@contoso.com", now.Add(48*time.Hour)); later == l.accounts[""] || len(l.accounts) > mostAccounts {
		t.Errorf("two days later %d accounts are left", len(l.accounts))
	}
}
