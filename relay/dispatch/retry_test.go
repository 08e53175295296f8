package dispatch

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sealpost/relay/dispatch/fairqueue"
	"sealpost/relay/envelope"
	"sealpost/relay/reply"
	"sealpost/relay/spool"
)

// alwaysReply replies to every RCPT with r.
func alwaysReply(r reply.Reply) func(envelope.Envelope, envelope.Address) reply.Reply {
	return func(envelope.Envelope, envelope.Address) reply.Reply { return r }
}

func TestRetry_BacksOffFromAMinuteToAnHour(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		w.upstream.set(func(f *fakeUpstream) { f.rcptReply = alwaysReply(greylisted) })
		if r := w.send(1, 100); !strings.Contains(r.Text, "will be sent: 451 4.7.1 greylisted") {
			t.Fatalf("got reply %s", r)
		}
		time.Sleep(day)
		offers := slices.DeleteFunc(w.upstream.offered(), func(h transaction) bool { return h.envelope.ID != "M1" })
		for i := range offers[1:] {
			want := min(time.Minute<<min(i, 10), time.Hour)
			if got := offers[i+1].at.Sub(offers[i].at); got < want*4/5 || got > want*6/5+time.Second {
				t.Errorf("delay %d: got %s, want about %s", i+1, got, want)
			}
		}
		if len(offers) < 25 || len(offers) > 40 {
			t.Errorf("got %d attempts in a day, want 25 to 40", len(offers))
		}
	})
}

func TestRetry_KeepsDelaysAcrossARestart(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		w.upstream.set(func(f *fakeUpstream) { f.rcptReply = alwaysReply(greylisted) })
		w.send(1, 100)
		time.Sleep(3 * time.Hour)
		before := len(w.upstream.offered())
		w.restart()
		time.Sleep(20 * time.Minute)
		if after := len(w.upstream.offered()); after > before+1 {
			t.Errorf("got %d attempts right after the restart, want at most 1", after-before)
		}
		w.upstream.set(func(f *fakeUpstream) { f.rcptReply = nil })
		time.Sleep(2 * time.Hour)
		if len(w.upstream.accepted()) != 1 {
			t.Errorf("got %d delivered, want 1", len(w.upstream.accepted()))
		}
	})
}

func TestRetry_SkipsSettledRecipients(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		var busy atomic.Bool
		busy.Store(true)
		w.upstream.rcptReply = func(_ envelope.Envelope, to envelope.Address) reply.Reply {
			if to == "busy@x.example" && busy.Load() {
				return greylisted
			}
			return rcptOK
		}
		w.send(1, 100, "a@x.example", "busy@x.example", "c@x.example")
		time.Sleep(5 * time.Second)
		w.restart()
		time.Sleep(10 * time.Minute)
		busy.Store(false)
		time.Sleep(2 * time.Hour)
		got := w.upstream.accepted()
		if len(got) != 2 || !slices.Equal(got[0].recipients, []envelope.Address{"a@x.example", "c@x.example"}) || !slices.Equal(got[1].recipients, []envelope.Address{"busy@x.example"}) {
			t.Errorf("delivered %+v, want the other recipients first and the busy one later", got)
		}
		for _, offer := range w.upstream.offered()[1:] {
			if len(offer.envelope.Recipients) != 1 {
				t.Errorf("got retry for %v, want one recipient", offer.envelope.Recipients)
			}
		}
	})
}

func TestBreaker_ResumesWithinMinutesOfRecovery(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		w.upstream.set(func(f *fakeUpstream) { f.fail = unreachableHost })
		for i := range 50 {
			w.send(i%5, 1000)
		}
		time.Sleep(day)
		if n := len(w.upstream.offered()); n < 24 || n > 24*20 {
			t.Errorf("got %d attempts to the unreachable host in a day, want 24 to 480", n)
		}
		w.upstream.set(func(f *fakeUpstream) { f.fail = nil })
		recovered := time.Now()
		time.Sleep(7 * time.Minute)
		if got := w.upstream.accepted(); len(got) != 50 || w.queued() != 0 {
			t.Errorf("delivered %d, queued %d, want 50 and 0", len(got), w.queued())
		} else if last := got[49].at.Sub(recovered); last > 6*time.Minute+time.Second {
			t.Errorf("got the last delivery after %s, want at most 6m1s", last)
		}
		if len(w.events("upstream held")) != 1 || len(w.events("upstream resumed")) != 1 {
			t.Errorf("got journal %s, want one event each of held and resumed", w.log)
		}
	})
}

func TestDispatcher_SendsOtherMailPastAFailingMessage(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		w.upstream.set(func(f *fakeUpstream) { f.dataReply = func(e envelope.Envelope) reply.Reply { return queuedOK } })
		w.upstream.set(func(f *fakeUpstream) { f.rate = 1 << 20 })
		failing := atomic.Bool{}
		failing.Store(true)
		w.upstream.fail = func(e envelope.Envelope) error {
			if e.ID == "M1" && failing.Load() {
				return unreachableHost(e)
			}
			return nil
		}
		w.send(1, 100)
		for range 20 {
			w.send(2, 100)
		}
		time.Sleep(time.Hour)
		if len(w.upstream.accepted()) != 20 {
			t.Errorf("got %d delivered, want 20", len(w.upstream.accepted()))
		}
		failing.Store(false)
		time.Sleep(time.Hour)
		if w.queued() != 0 {
			t.Errorf("got %d queued, want 0", w.queued())
		}
	})
}

func TestFairQueue_DoesNotStarveClients(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		w.upstream.set(func(f *fakeUpstream) { f.fail = unreachableHost })
		for range 200 {
			w.send(1, 100)
		}
		w.sendAs("scan", 2, 100)
		w.upstream.set(func(f *fakeUpstream) { f.fail = nil })
		w.upstream.set(func(f *fakeUpstream) { f.delay = func(envelope.Envelope) time.Duration { return time.Second } })
		time.Sleep(time.Hour)
		got := w.upstream.accepted()
		position := slices.IndexFunc(got, func(h transaction) bool { return h.envelope.ID == "scan" })
		if len(got) != 201 || position < 0 || position > 10 {
			t.Errorf("delivered %d, the scan at position %d, want 201 and at most 10", len(got), position)
		}
	})
}

func TestFairQueue_KeepsAClientsOrder(t *testing.T) {
	withHarness(t, func(c *setup) { c.Limits.Connections = 1 }, func(w *harness) {
		w.upstream.set(func(f *fakeUpstream) { f.fail = unreachableHost })
		var want []string
		for range 20 {
			w.send(1, 100)
			want = append(want, fmt.Sprint("M", w.count))
		}
		time.Sleep(time.Hour)
		w.upstream.set(func(f *fakeUpstream) { f.fail = nil })
		time.Sleep(time.Hour)
		if got := ids(w.upstream.accepted()); got != strings.Join(want, " ") {
			t.Errorf("delivered %s, want %s", got, strings.Join(want, " "))
		}
	})
}

func TestBacklog_SendsSmallMailPastALargeScan(t *testing.T) {
	withHarness(t, func(c *setup) { c.Limits.Connections = 2 }, func(w *harness) {
		w.upstream.set(func(f *fakeUpstream) { f.fail = unreachableHost })
		for range 3 {
			w.send(1, 3<<20)
		}
		for range 10 {
			w.send(1, 1000)
		}
		w.upstream.set(func(f *fakeUpstream) { f.fail = nil })
		w.upstream.set(func(f *fakeUpstream) { f.rate = 10 << 10 })
		time.Sleep(10 * time.Minute)
		got := w.upstream.accepted()
		small := 0
		for _, h := range got[:min(11, len(got))] {
			if h.envelope.Size < fairqueue.LargeSize {
				small++
			}
		}
		if small != 10 {
			t.Errorf("of the first %d messages: got %d small, want 10", len(got), small)
		}
		time.Sleep(time.Hour)
		if w.queued() != 0 {
			t.Errorf("got %d queued, want 0", w.queued())
		}
	})
}

func TestDispatcher_SendsLiveMailBesideABacklog(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		w.upstream.set(func(f *fakeUpstream) { f.fail = unreachableHost })
		for range 300 {
			w.send(1, 100)
		}
		w.upstream.set(func(f *fakeUpstream) { f.fail = nil })
		w.upstream.set(func(f *fakeUpstream) { f.delay = func(envelope.Envelope) time.Duration { return time.Second } })
		time.Sleep(20 * time.Second)
		if w.queued() == 0 {
			t.Fatal("got 0 queued, want a backlog")
		}
		begun := time.Now()
		if r := w.send(2, 100); !strings.Contains(r.Text, "accepted by mx") || time.Since(begun) > 4*time.Second {
			t.Errorf("got reply after %s: %s, want accepted within 4s", time.Since(begun), r)
		}
	})
}

func TestDispatcher_DropsAndRetriesMessages(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		w.upstream.set(func(f *fakeUpstream) { f.rcptReply = alwaysReply(greylisted) })
		w.send(1, 100)
		w.send(1, 100)
		time.Sleep(10 * time.Hour)
		q, err := w.d.Queue()
		if err != nil {
			t.Fatal(err)
		}
		first, err := q.Find("M1")
		if err != nil {
			t.Fatal(err)
		}
		second, err := q.Find("M2")
		if err != nil {
			t.Fatal(err)
		}
		if err := w.d.Drop(first); err != nil {
			t.Error(err)
		}
		w.upstream.set(func(f *fakeUpstream) { f.rcptReply = nil })
		if err := w.d.Retry(second.Number); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		if got := ids(w.upstream.accepted()); got != "M2" {
			t.Errorf("delivered %q, want M2", got)
		}
		if _, err := q.Find("M1"); !errors.Is(err, spool.ErrNotFound) {
			t.Errorf("dropped message: got %v, want ErrNotFound", err)
		}
	})
}

func TestRetryAll_ProbesAtOnce(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		w.upstream.set(func(f *fakeUpstream) { f.rcptReply = alwaysReply(relayDenied) })
		for range 5 {
			w.send(1, 100)
		}
		time.Sleep(10 * time.Hour)
		w.upstream.set(func(f *fakeUpstream) { f.rcptReply = nil })
		if err := w.d.RetryAll(); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		if len(w.upstream.accepted()) != 5 || w.queued() != 0 || w.d.Status().Held != "" {
			t.Errorf("got %d delivered, %d queued, status %+v, want 5, 0 and not held", len(w.upstream.accepted()), w.queued(), w.d.Status())
		}
	})
}
