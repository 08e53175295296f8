package dispatch

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestAwaitClock_QueuesAllMail(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		w.d.AwaitClock("the time is unknown")
		begun := time.Now()
		if r := w.send(1, 100); r.Code != 250 || !strings.Contains(r.Text, "the time is unknown") {
			t.Errorf("got reply %v", r)
		}
		if waited := time.Since(begun); waited > time.Second {
			t.Errorf("got reply after %v, want at once", waited)
		}
		if err := w.d.RetryAll(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(day)
		if offers := w.upstream.offered(); len(offers) != 0 {
			t.Fatalf("got offers %s, want none", ids(offers))
		}
		w.d.ClockSet()
		synctest.Wait()
		if got := ids(w.upstream.offered()); got != "M1" {
			t.Errorf("after ClockSet: got offers %q, want M1", got)
		}
	})
}

// The test cannot set the clock back, so the 30 days before ClockSet stand for the
// error of the clock: they are longer than the maximum age of a message.
func TestClockSet_StartsTheAgeOfEarlierMessages(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		w.d.AwaitClock("the time is unknown")
		w.send(1, 100)
		time.Sleep(30 * day)
		w.restart()
		w.upstream.set(func(f *fakeUpstream) { f.fail = unreachableHost })
		w.d.ClockSet()
		time.Sleep(4 * day)
		if expired := w.events("given up"); len(expired) != 0 {
			t.Fatalf("got %v, want nothing given up while the time is unknown", expired)
		}
		w.upstream.set(func(f *fakeUpstream) { f.fail = nil })
		time.Sleep(2 * time.Hour)
		if got := ids(w.upstream.offered()); !strings.Contains(got, "M1") || w.queued() != 0 {
			t.Errorf("got offers %q, %d queued, want M1 and 0", got, w.queued())
		}
	})
}

func TestAwaitClock_KeepsTheAgeOfMessagesWithATime(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		w.upstream.set(func(f *fakeUpstream) { f.rcptReply = alwaysReply(greylisted) })
		w.send(1, 100)
		time.Sleep(4 * day)
		w.restart()
		w.d.AwaitClock("the time is unknown")
		time.Sleep(time.Minute)
		w.d.ClockSet()
		time.Sleep(2 * day)
		expired := w.events("expired")
		if len(expired) == 0 || expired[0]["id"] != "M1" {
			t.Errorf("got %v, want M1 expired after five days", expired)
		}
	})
}

func TestAwaitClock_ExpiresNoMessageThatWaitedForTheSpool(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		w.restartWithoutQueue()
		w.upstream.set(func(f *fakeUpstream) { f.rcptReply = alwaysReply(greylisted) })
		w.d.AwaitClock("the time is unknown")
		replied := make(chan int)
		go func() { replied <- w.send(1, 100).Code }()
		time.Sleep(time.Second)
		w.attachQueue()
		w.d.ClockSet()
		if code := <-replied; code != 250 {
			t.Errorf("got reply %d, want 250", code)
		}
		time.Sleep(time.Hour)
		if expired := w.events("expired"); len(expired) != 0 {
			t.Errorf("got %v, want nothing expired", expired)
		}
	})
}
