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

// says answers every recipient alike.
func says(answer reply.Reply) func(envelope.Envelope, envelope.Address) reply.Reply {
	return func(envelope.Envelope, envelope.Address) reply.Reply { return answer }
}

func TestPausesGrowFromAMinuteToAnHour(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.far.be(func(f *farSide) { f.answer = says(grey) })
		if answer := w.send(1, 100); !strings.Contains(answer.Text, "will be sent: 451 4.7.1 greylisted") {
			t.Fatalf("answered %s", answer)
		}
		time.Sleep(day)
		offers := slices.DeleteFunc(w.far.offered(), func(h heard) bool { return h.envelope.ID != "M1" })
		for i := range offers[1:] {
			want := min(time.Minute<<min(i, 10), time.Hour)
			if got := offers[i+1].at.Sub(offers[i].at); got < want*4/5 || got > want*6/5+time.Second {
				t.Errorf("pause %d was %s, want about %s", i+1, got, want)
			}
		}
		if len(offers) < 25 || len(offers) > 40 {
			t.Errorf("tried %d times in a day", len(offers))
		}
	})
}

func TestARestartKeepsThePauses(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.far.be(func(f *farSide) { f.answer = says(grey) })
		w.send(1, 100)
		time.Sleep(3 * time.Hour)
		before := len(w.far.offered())
		w.restart()
		time.Sleep(20 * time.Minute)
		if after := len(w.far.offered()); after > before+1 {
			t.Errorf("tried %d times at once after the restart", after-before)
		}
		w.far.be(func(f *farSide) { f.answer = nil })
		time.Sleep(2 * time.Hour)
		if len(w.far.got()) != 1 {
			t.Errorf("%d arrived", len(w.far.got()))
		}
	})
}

func TestOnlyThoseStillOwedAreTriedAgainAlsoAfterARestart(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		var busy atomic.Bool
		busy.Store(true)
		w.far.answer = func(_ envelope.Envelope, to envelope.Address) reply.Reply {
			if to == "busy@x.example" && busy.Load() {
				return grey
			}
			return ok
		}
		w.send(1, 100, "a@x.example", "busy@x.example", "c@x.example")
		time.Sleep(5 * time.Second)
		w.restart()
		time.Sleep(10 * time.Minute)
		busy.Store(false)
		time.Sleep(2 * time.Hour)
		got := w.far.got()
		if len(got) != 2 || !slices.Equal(got[0].recipients, []envelope.Address{"a@x.example", "c@x.example"}) || !slices.Equal(got[1].recipients, []envelope.Address{"busy@x.example"}) {
			t.Errorf("arrived: %+v", got)
		}
		for _, offer := range w.far.offered()[1:] {
			if len(offer.envelope.Recipients) != 1 {
				t.Errorf("offered again to %v", offer.envelope.Recipients)
			}
		}
	})
}

func TestAnUpstreamThatIsBackIsNoticedWithinMinutesAndGetsEverything(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.far.be(func(f *farSide) { f.down = unreachableHost })
		for i := range 50 {
			w.send(i%5, 1000)
		}
		time.Sleep(day)
		if n := len(w.far.offered()); n < 24 || n > 24*20 {
			t.Errorf("the dead host was asked %d times in a day", n)
		}
		w.far.be(func(f *farSide) { f.down = nil })
		back := time.Now()
		time.Sleep(7 * time.Minute)
		if got := w.far.got(); len(got) != 50 || w.kept() != 0 {
			t.Errorf("%d arrived, %d kept", len(got), w.kept())
		} else if last := got[49].at.Sub(back); last > 6*time.Minute+time.Second {
			t.Errorf("the last arrived after %s", last)
		}
		if len(w.events("upstream held")) != 1 || len(w.events("upstream resumed")) != 1 {
			t.Errorf("the journal: %s", w.log)
		}
	})
}

func TestAMessageOnWhichTheServerHangsUpDoesNotStopTheOthers(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.far.be(func(f *farSide) { f.final = func(e envelope.Envelope) reply.Reply { return taken } })
		w.far.be(func(f *farSide) { f.rate = 1 << 20 })
		poison := atomic.Bool{}
		poison.Store(true)
		w.far.down = func(e envelope.Envelope) error {
			if e.ID == "M1" && poison.Load() {
				return unreachableHost(e)
			}
			return nil
		}
		w.send(1, 100)
		for range 20 {
			w.send(2, 100)
		}
		time.Sleep(time.Hour)
		if len(w.far.got()) != 20 {
			t.Errorf("%d of 20 arrived", len(w.far.got()))
		}
		poison.Store(false)
		time.Sleep(time.Hour)
		if w.kept() != 0 {
			t.Errorf("%d kept", w.kept())
		}
	})
}

func TestOneChattyClientDoesNotStarveTheOthers(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.far.be(func(f *farSide) { f.down = unreachableHost })
		for range 200 {
			w.send(1, 100)
		}
		w.sendAs("scan", 2, 100)
		w.far.be(func(f *farSide) { f.down = nil })
		w.far.be(func(f *farSide) { f.delay = func(envelope.Envelope) time.Duration { return time.Second } })
		time.Sleep(time.Hour)
		got := w.far.got()
		place := slices.IndexFunc(got, func(h heard) bool { return h.envelope.ID == "scan" })
		if len(got) != 201 || place < 0 || place > 10 {
			t.Errorf("%d arrived, the scan as number %d", len(got), place)
		}
	})
}

func TestAClientsMailKeepsItsOrder(t *testing.T) {
	inWorld(t, func(c *setup) { c.Limits.Connections = 1 }, func(w *world) {
		w.far.be(func(f *farSide) { f.down = unreachableHost })
		var want []string
		for range 20 {
			w.send(1, 100)
			want = append(want, fmt.Sprint("M", w.count))
		}
		time.Sleep(time.Hour)
		w.far.be(func(f *farSide) { f.down = nil })
		time.Sleep(time.Hour)
		if got := ids(w.far.got()); got != strings.Join(want, " ") {
			t.Errorf("arrived: %s", got)
		}
	})
}

func TestSmallMailPassesALargeScan(t *testing.T) {
	inWorld(t, func(c *setup) { c.Limits.Connections = 2 }, func(w *world) {
		w.far.be(func(f *farSide) { f.down = unreachableHost })
		for range 3 {
			w.send(1, 3<<20)
		}
		for range 10 {
			w.send(1, 1000)
		}
		w.far.be(func(f *farSide) { f.down = nil })
		w.far.be(func(f *farSide) { f.rate = 10 << 10 })
		time.Sleep(10 * time.Minute)
		got := w.far.got()
		small := 0
		for _, h := range got[:min(11, len(got))] {
			if h.envelope.Size < fairqueue.LargeSize {
				small++
			}
		}
		if small != 10 {
			t.Errorf("of the first %d messages %d are small", len(got), small)
		}
		time.Sleep(time.Hour)
		if w.kept() != 0 {
			t.Errorf("%d are kept for good", w.kept())
		}
	})
}

func TestLiveMailIsNotStuckBehindABacklog(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.far.be(func(f *farSide) { f.down = unreachableHost })
		for range 300 {
			w.send(1, 100)
		}
		w.far.be(func(f *farSide) { f.down = nil })
		w.far.be(func(f *farSide) { f.delay = func(envelope.Envelope) time.Duration { return time.Second } })
		time.Sleep(20 * time.Second)
		if w.kept() == 0 {
			t.Fatal("there is no backlog")
		}
		begun := time.Now()
		if answer := w.send(2, 100); !strings.Contains(answer.Text, "taken by mx") || time.Since(begun) > 4*time.Second {
			t.Errorf("answered after %s: %s", time.Since(begun), answer)
		}
	})
}

func TestADroppedMessageIsNotSentAndARetriedOneAtOnce(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.far.be(func(f *farSide) { f.answer = says(grey) })
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
		w.far.be(func(f *farSide) { f.answer = nil })
		if err := w.d.Retry(second.Number); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		if got := ids(w.far.got()); got != "M2" {
			t.Errorf("arrived: %q", got)
		}
		if _, err := q.Find("M1"); !errors.Is(err, spool.ErrNotFound) {
			t.Errorf("the dropped message: %v", err)
		}
	})
}

func TestRetryAllAsksAHeldUpstreamAtOnce(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.far.be(func(f *farSide) { f.answer = says(denied) })
		for range 5 {
			w.send(1, 100)
		}
		time.Sleep(10 * time.Hour)
		w.far.be(func(f *farSide) { f.answer = nil })
		if err := w.d.RetryAll(); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		if len(w.far.got()) != 5 || w.kept() != 0 || w.d.Status().Held != "" {
			t.Errorf("%d arrived, %d kept, %+v", len(w.far.got()), w.kept(), w.d.Status())
		}
	})
}
