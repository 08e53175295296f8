package dispatch

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sealpost/relay/body"
	"sealpost/relay/envelope"
	"sealpost/relay/reply"
)

func TestWhileTheUpstreamTakesMailFlashIsNotTouched(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		before := w.flash.Counts()
		for range 1000 {
			if answer := w.send(1, 4000); !strings.Contains(answer.String(), "250 2.0.0 taken by mx: 250 2.6.0 Queued") {
				t.Fatalf("answered %s", answer)
			}
		}
		time.Sleep(time.Minute)
		if after := w.flash.Counts(); after != before {
			t.Errorf("the flash had %+v, now %+v", before, after)
		}
	})
}

func TestAClientWaitsNoLongerThanTheHoldAndTheAttemptGoesOn(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.far.be(func(f *farSide) { f.delay = func(envelope.Envelope) time.Duration { return 20 * time.Second } })
		begun := time.Now()
		answer := w.send(1, 100)
		if waited := time.Since(begun).Round(time.Second); waited != 5*time.Second || !strings.Contains(answer.String(), "250 2.0.0 M1 is safe in the spool") {
			t.Errorf("answered after %s: %s", waited, answer)
		}
		if w.kept() != 1 {
			t.Errorf("%d messages are kept", w.kept())
		}
		time.Sleep(time.Minute)
		if len(w.far.offered()) != 1 || len(w.far.got()) != 1 || w.kept() != 0 {
			t.Errorf("offered %d times, taken %d times, %d kept", len(w.far.offered()), len(w.far.got()), w.kept())
		}
	})
}

func TestAClientWaitsLongerWhileALargeBodyIsOnItsWay(t *testing.T) {
	for _, c := range []struct {
		name   string
		size   int
		rate   int64
		waited time.Duration
		kept   bool
	}{
		{"30 MB at 2 MB a second", 30e6, 2e6, 16 * time.Second, false},
		{"5 MB at 100 kB a second", 5e6, 1e5, 30 * time.Second, true},
		{"a small body", 4000, 500, 5 * time.Second, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, nil, func(w *world) {
				w.far.be(func(f *farSide) { f.rate = c.rate })
				before := w.flash.Counts()
				begun := time.Now()
				answer := w.send(1, c.size)
				if waited := time.Since(begun); (waited - c.waited).Abs() > 2*time.Second {
					t.Errorf("answered after %s: %s", waited, answer)
				}
				if kept := strings.Contains(answer.Text, "safe in the spool"); kept != c.kept || !answer.Positive() {
					t.Errorf("answered %s", answer)
				}
				if touched := w.flash.Counts() != before; touched != c.kept {
					t.Errorf("flash touched: %v", touched)
				}
			})
		})
	}
}

// aMoment is what commits may wait for each other.
const aMoment = 10 * time.Millisecond

func TestWhereTheUpstreamIsKnownToBeDownNobodyWaits(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.far.be(func(f *farSide) { f.down = unreachableHost })
		for range 20 {
			begun := time.Now()
			answer := w.send(1, 100)
			if waited := time.Since(begun); waited > aMoment || !strings.Contains(answer.Text, "will be sent: cannot reach mx") {
				t.Fatalf("answered after %s: %s", waited, answer)
			}
		}
		if n := len(w.far.offered()); n != 1 {
			t.Errorf("the dead host was asked %d times", n)
		}
		if text := w.log.String(); strings.Contains(w.send(1, 1).Text, "secret") || !strings.Contains(text, "cannot reach mx") {
			t.Errorf("the journal: %s", text)
		}
	})
}

func TestWhereEveryAttemptHangsNobodyWaitsForAnother(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.far.be(func(f *farSide) { f.delay = func(envelope.Envelope) time.Duration { return 5 * time.Minute } })
		for range 4 {
			go w.sendAs("hanging", 1, 100)
		}
		time.Sleep(6 * time.Second)
		begun := time.Now()
		if answer := w.send(2, 100); time.Since(begun) > aMoment || !strings.Contains(answer.Text, "slow to answer") {
			t.Errorf("answered after %s: %s", time.Since(begun), answer)
		}
	})
}

func TestAMessageTooLargeForMemoryStreamsIntoTheSpool(t *testing.T) {
	inWorld(t, func(c *setup) { c.Memory = body.NewBudget(1 << 20) }, func(w *world) {
		answer := w.send(1, 5<<20)
		if !strings.Contains(answer.String(), "250 2.0.0 M1 is safe in the spool") {
			t.Fatalf("answered %s", answer)
		}
		time.Sleep(time.Second)
		got := w.far.got()
		if len(got) != 1 || len(got[0].content) != 5<<20+len("Subject: M1\r\n\r\n") || w.kept() != 0 {
			t.Errorf("%d messages arrived, %d kept", len(got), w.kept())
		}
		if used := w.d.config.Memory.Used(); used != 0 {
			t.Errorf("%d bytes of memory are still taken", used)
		}
	})
}

func TestTheMemoryForMessagesInFlightIsGivenBack(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		for i, behave := range []func(){
			func() {},
			func() {
				w.far.be(func(f *farSide) { f.delay = func(envelope.Envelope) time.Duration { return time.Minute } })
			},
			func() { w.far.be(func(f *farSide) { f.delay, f.down = nil, unreachableHost }) },
			func() {
				w.far.be(func(f *farSide) { f.down = nil })
				w.far.be(func(f *farSide) { f.answer = func(envelope.Envelope, envelope.Address) reply.Reply { return unknown } })
			},
		} {
			behave()
			for range 5 {
				go w.sendAs(fmt.Sprint("round ", i), i, 100_000)
			}
			time.Sleep(2 * time.Hour)
			if used := w.d.config.Memory.Used(); used != 0 {
				t.Errorf("%d bytes are still taken after round %d", used, i)
			}
		}
	})
}

func TestAFullSpoolLetsMailThroughAndRefusesWhatItCannotKeep(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.far.be(func(f *farSide) { f.down = unreachableHost })
		full := 0
		for range 30 {
			answer := w.send(1, 1<<20)
			if answer.Code == 452 {
				full++
				if !strings.Contains(answer.String(), "452 4.3.1 the spool is full") {
					t.Fatalf("answered %s", answer)
				}
			}
		}
		if full == 0 || w.kept() == 0 {
			t.Fatalf("%d refused, %d kept", full, w.kept())
		}
		kept := w.kept()
		w.far.be(func(f *farSide) { f.down = nil })
		time.Sleep(time.Hour)
		if len(w.far.got()) != kept || w.kept() != 0 {
			t.Errorf("%d of %d arrived, %d are kept", len(w.far.got()), kept, w.kept())
		}
		if answer := w.send(1, 1<<20); !strings.Contains(answer.Text, "taken by mx") {
			t.Errorf("answered %s", answer)
		}
	})
}

func TestAStopKeepsWhatClientsWaitFor(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.far.be(func(f *farSide) { f.delay = func(envelope.Envelope) time.Duration { return time.Hour } })
		answers := make(chan reply.Reply, 10)
		for i := range 10 {
			go func() { answers <- w.sendAs(fmt.Sprint("W", i), i, 100) }()
		}
		time.Sleep(time.Second)
		w.d.Stop()
		synctest.Wait()
		for range 10 {
			if answer := <-answers; !strings.Contains(answer.Text, "safe in the spool") {
				t.Errorf("answered %s", answer)
			}
		}
		w.far.be(func(f *farSide) { f.delay = nil })
		w.restart()
		time.Sleep(time.Minute)
		if len(w.far.got()) != 10 || w.kept() != 0 {
			t.Errorf("%d arrived, %d kept", len(w.far.got()), w.kept())
		}
	})
}
