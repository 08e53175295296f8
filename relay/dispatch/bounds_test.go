package dispatch

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"sealpost/hal/simflash"
	"sealpost/relay/envelope"
	"sealpost/relay/reply"
	"sealpost/relay/spool"
)

func TestThrottle_IgnoresMailThatIsNotDue(t *testing.T) {
	withHarness(t, func(c *setup) { c.Limits.Rate.Messages = 30 }, func(w *harness) {
		w.upstream.set(func(f *fakeUpstream) { f.rcptReply = alwaysReply(greylisted) })
		for range 90 {
			w.send(1, 100)
		}
		time.Sleep(10 * time.Hour)
		w.restart()
		w.upstream.set(func(f *fakeUpstream) { f.rcptReply = nil })
		time.Sleep(time.Second)
		if r := w.send(2, 100); !strings.Contains(r.Text, "accepted by mx") {
			t.Errorf("got reply %s, want accepted by mx", r)
		}
	})
}

func TestDispatcher_ReportsDamageOnceTheQueueHasRoom(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		w.upstream.set(func(f *fakeUpstream) { f.fail = unreachableHost })
		w.send(1, 300_000)
		for off := int64(100_000); off < 200_000; off += 10_000 {
			w.flash.FlipBit(8 * off)
		}
		for w.send(1, 700_000).Code == 250 {
		}
		for w.send(1, 1000).Code == 250 {
		}
		w.upstream.set(func(f *fakeUpstream) { f.fail = nil })
		time.Sleep(5 * time.Hour)
		notified := 0
		for _, h := range w.upstream.accepted() {
			if h.envelope.Report && strings.Contains(h.content, "damaged in the relay") {
				notified++
			}
		}
		if notified != 1 || w.queued() != 0 {
			t.Errorf("got %d notifications, %d queued, want 1 and 0: %v", notified, w.queued(), w.events("damaged"))
		}
	})
}

func TestDispatcher_ReportsRefusedMessageWithDamagedContent(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		w.upstream.set(func(f *fakeUpstream) { f.rcptReply = deferThenReply(userUnknown) })
		w.send(1, 300_000)
		for off := int64(90_000); off < 110_000; off += 1000 {
			w.flash.FlipBit(8 * off)
		}
		time.Sleep(6 * day)
		if len(w.upstream.accepted()) != 1 || w.queued() != 0 {
			t.Errorf("got %d delivered, %d queued, want 1 and 0\n%s", len(w.upstream.accepted()), w.queued(), w.log)
		}
	})
}

func TestDispatcher_SendsNothingItCannotRecord(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		w.upstream.set(func(f *fakeUpstream) { f.fail = unreachableHost })
		for range 5 {
			w.send(1, 100)
		}
		counts := w.flash.Counts()
		w.flash.At(counts.Writes+counts.Flushes+1, simflash.Failed)
		if r := w.send(1, 100); r.Code != 451 {
			t.Errorf("got reply %s, want 451", r)
		}
		w.upstream.set(func(f *fakeUpstream) { f.fail = nil })
		time.Sleep(10 * time.Minute)
		if n := len(w.upstream.accepted()); n != 0 {
			t.Errorf("got %d delivered, want 0: the deliveries cannot be recorded", n)
		}
		if err := errors.Join(w.d.Close(context.Background()), w.spool.Close()); !errors.Is(err, spool.ErrPoisoned) {
			t.Errorf("Close: got %v, want ErrPoisoned", err)
		}
		w.open()
		time.Sleep(10 * time.Minute)
		if n := len(w.upstream.accepted()); n != 5 {
			t.Errorf("after the restart: got %d delivered, want 5", n)
		}
	})
}

func TestBreaker_ProbesWithALiveMessage(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		w.upstream.set(func(f *fakeUpstream) { f.rcptReply = alwaysReply(greylisted) })
		for w.send(1, 700_000).Code == 250 {
		}
		nothingDueFor := func(pause time.Duration) bool {
			w.d.mu.Lock()
			defer w.d.mu.Unlock()
			due, _ := w.d.backlog.NextDue()
			return w.d.backlog.Due() == 0 && time.Until(due) > pause
		}
		for time.Sleep(12 * time.Hour); !nothingDueFor(time.Minute); {
			time.Sleep(time.Second)
		}
		w.upstream.set(func(f *fakeUpstream) { f.rcptReply, f.fail = nil, unreachableHost })
		w.send(1, 100)
		w.upstream.set(func(f *fakeUpstream) { f.fail = nil })
		time.Sleep(30 * time.Second)
		if r := w.send(2, 700_000); !strings.Contains(r.Text, "accepted by mx") {
			t.Errorf("got reply %s, want accepted by mx", r)
		}
		time.Sleep(2 * time.Hour)
		if w.queued() != 0 {
			t.Errorf("got %d queued, want 0", w.queued())
		}
	})
}

func TestRetry_KeepsSettledRecipients(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		w.upstream.set(func(f *fakeUpstream) {
			f.rcptReply = func(_ envelope.Envelope, to envelope.Address) reply.Reply {
				if to == "busy@x.example" {
					return greylisted
				}
				return rcptOK
			}
		})
		w.send(1, 100, "a@x.example", "busy@x.example")
		time.Sleep(time.Hour)
		q, _ := w.d.Queue()
		item, err := q.Find("M1")
		if err != nil {
			t.Fatal(err)
		}
		w.upstream.set(func(f *fakeUpstream) { f.delay = func(envelope.Envelope) time.Duration { return time.Minute } })
		if err := w.d.Retry(item.Number); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		before, _ := q.Find("M1")
		if err := w.d.Retry(item.Number); err != nil {
			t.Error(err)
		}
		_, p, err := q.Load(item.Number)
		if err != nil || !p.Settled.Has(0) || p.Settled.Has(1) {
			t.Errorf("got %+v, %v, want recipient 0 settled (before: %+v)", p, err, before)
		}
	})
}
