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

func TestMailThatIsNotDueDoesNotUseUpTheRate(t *testing.T) {
	inWorld(t, func(c *setup) { c.Limits.Rate.Messages = 30 }, func(w *world) {
		w.far.be(func(f *farSide) { f.answer = says(grey) })
		for range 90 {
			w.send(1, 100)
		}
		time.Sleep(10 * time.Hour)
		w.restart()
		w.far.be(func(f *farSide) { f.answer = nil })
		time.Sleep(time.Second)
		if answer := w.send(2, 100); !strings.Contains(answer.Text, "taken by mx") {
			t.Errorf("answered %s", answer)
		}
	})
}

func TestADamagedMessageIsReportedEvenWhereItsNotificationFindsNoRoomAtFirst(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.far.be(func(f *farSide) { f.down = unreachableHost })
		w.send(1, 300_000)
		for off := int64(100_000); off < 200_000; off += 10_000 {
			w.flash.FlipBit(8 * off)
		}
		for w.send(1, 700_000).Code == 250 {
		}
		for w.send(1, 1000).Code == 250 {
		}
		w.far.be(func(f *farSide) { f.down = nil })
		time.Sleep(5 * time.Hour)
		told := 0
		for _, h := range w.far.got() {
			if h.envelope.Report && strings.Contains(h.content, "damaged in the relay") {
				told++
			}
		}
		if told != 1 || w.kept() != 0 {
			t.Errorf("told %d times, %d kept: %v", told, w.kept(), w.events("damaged"))
		}
	})
}

func TestADamagedMessageThatIsRefusedIsReportedToo(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.far.be(func(f *farSide) { f.answer = late(unknown) })
		w.send(1, 300_000)
		for off := int64(90_000); off < 110_000; off += 1000 {
			w.flash.FlipBit(8 * off)
		}
		time.Sleep(6 * day)
		if len(w.far.got()) != 1 || w.kept() != 0 {
			t.Errorf("%d arrived, %d kept\n%s", len(w.far.got()), w.kept(), w.log)
		}
	})
}

func TestWhatCannotBeRecordedIsNotTried(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.far.be(func(f *farSide) { f.down = unreachableHost })
		for range 5 {
			w.send(1, 100)
		}
		counts := w.flash.Counts()
		w.flash.At(counts.Writes+counts.Flushes+1, simflash.Failed)
		if answer := w.send(1, 100); answer.Code != 451 {
			t.Errorf("answered %s", answer)
		}
		w.far.be(func(f *farSide) { f.down = nil })
		time.Sleep(10 * time.Minute)
		if n := len(w.far.got()); n != 0 {
			t.Errorf("%d arrived, and nobody will know after the restart", n)
		}
		if err := errors.Join(w.d.Close(context.Background()), w.spool.Close()); !errors.Is(err, spool.ErrPoisoned) {
			t.Errorf("closing: %v", err)
		}
		w.open()
		time.Sleep(10 * time.Minute)
		if n := len(w.far.got()); n != 5 {
			t.Errorf("%d arrived after the restart", n)
		}
	})
}

func TestAClientMaySeeForTheOthersWhetherAHeldUpstreamIsBack(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.far.be(func(f *farSide) { f.answer = says(grey) })
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
		w.far.be(func(f *farSide) { f.answer, f.down = nil, unreachableHost })
		w.send(1, 100)
		w.far.be(func(f *farSide) { f.down = nil })
		time.Sleep(30 * time.Second)
		if answer := w.send(2, 700_000); !strings.Contains(answer.Text, "taken by mx") {
			t.Errorf("answered %s", answer)
		}
		time.Sleep(2 * time.Hour)
		if w.kept() != 0 {
			t.Errorf("%d kept", w.kept())
		}
	})
}

func TestARetryByHandForgetsNobodyWhoHasTheMessage(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.far.be(func(f *farSide) {
			f.answer = func(_ envelope.Envelope, to envelope.Address) reply.Reply {
				if to == "busy@x.example" {
					return grey
				}
				return ok
			}
		})
		w.send(1, 100, "a@x.example", "busy@x.example")
		time.Sleep(time.Hour)
		q, _ := w.d.Queue()
		item, err := q.Find("M1")
		if err != nil {
			t.Fatal(err)
		}
		w.far.be(func(f *farSide) { f.delay = func(envelope.Envelope) time.Duration { return time.Minute } })
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
			t.Errorf("%+v, %v, before %+v", p, err, before)
		}
	})
}
