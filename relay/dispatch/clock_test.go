package dispatch

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestWhileTheClockIsUnknownMailIsKeptAndNothingLeaves(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.d.AwaitClock("nobody knows what time it is")
		begun := time.Now()
		if answer := w.send(1, 100); answer.Code != 250 || !strings.Contains(answer.Text, "nobody knows what time it is") {
			t.Errorf("the client heard %v", answer)
		}
		if waited := time.Since(begun); waited > time.Second {
			t.Errorf("the client waited for %v", waited)
		}
		if err := w.d.RetryAll(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(day)
		if offers := w.far.offered(); len(offers) != 0 {
			t.Fatalf("offered %s", ids(offers))
		}
		w.d.ClockSet()
		synctest.Wait()
		if got := ids(w.far.offered()); got != "M1" {
			t.Errorf("then offered %q", got)
		}
	})
}

// The clock itself cannot be set here, so the time before it was stands for
// the one that it was wrong by: longer than any message's age.
func TestAMessageFromBeforeTheClockWasSetGrowsOldFromThenOn(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.d.AwaitClock("nobody knows what time it is")
		w.send(1, 100)
		time.Sleep(30 * day)
		w.restart()
		w.far.be(func(f *farSide) { f.down = unreachableHost })
		w.d.ClockSet()
		time.Sleep(4 * day)
		if given := w.events("given up"); len(given) != 0 {
			t.Fatalf("given up though no time was known: %v", given)
		}
		w.far.be(func(f *farSide) { f.down = nil })
		time.Sleep(2 * time.Hour)
		if got := ids(w.far.offered()); !strings.Contains(got, "M1") || w.kept() != 0 {
			t.Errorf("offered %q, %d kept", got, w.kept())
		}
	})
}

func TestAMessageOfASetClockKeepsItsAgeThoughTheNextStartAwaitsIt(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.far.be(func(f *farSide) { f.answer = says(grey) })
		w.send(1, 100)
		time.Sleep(4 * day)
		w.restart()
		w.d.AwaitClock("nobody knows what time it is")
		time.Sleep(time.Minute)
		w.d.ClockSet()
		time.Sleep(2 * day)
		expired := w.events("expired")
		if len(expired) == 0 || expired[0]["id"] != "M1" {
			t.Errorf("it was not given up after five days: %v", expired)
		}
	})
}

func TestAMessageThatWaitedForTheClockAndTheSpoolIsNotTooOldForThem(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.openWithoutQueue()
		w.far.be(func(f *farSide) { f.answer = says(grey) })
		w.d.AwaitClock("nobody knows what time it is")
		answered := make(chan int)
		go func() { answered <- w.send(1, 100).Code }()
		time.Sleep(time.Second)
		w.attach()
		w.d.ClockSet()
		if code := <-answered; code != 250 {
			t.Errorf("the client heard %d", code)
		}
		time.Sleep(time.Hour)
		if expired := w.events("expired"); len(expired) != 0 {
			t.Errorf("given up for its age: %v", expired)
		}
	})
}
