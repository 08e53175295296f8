package dispatch

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sealpost/relay/envelope"
	"sealpost/relay/reply"
	"sealpost/relay/upstream"
)

func TestAnAnswerForTheWholeUpstreamHoldsAllMailUntilItIsCured(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer reply.Reply
		kind   string
		tries  [2]int        // in the first day, at least and at most
		cured  time.Duration // until all is delivered, at most
	}{
		{"no connector matches", denied, "configuration", [2]int{80, 150}, 20 * time.Minute},
		{"direct send rejected", reply.New(550, 7, 68, "TenantInboundAttribution"), "configuration", [2]int{80, 150}, 20 * time.Minute},
		{"banned address", reply.New(550, 7, 606, "banned"), "configuration", [2]int{80, 150}, 20 * time.Minute},
		{"blocked sender", reply.New(550, 1, 8, "Access denied, bad outbound sender"), "blocked", [2]int{20, 32}, 75 * time.Minute},
		{"daily limit", reply.New(554, 2, 0, "STOREDRV.Submission.Exception:SubmissionQuotaExceededException"), "wait for reset", [2]int{20, 32}, 75 * time.Minute},
		{"throttled", slowly, "wait long", [2]int{24, 60}, 75 * time.Minute},
		{"too many connections", crowded, "wait", [2]int{200, 600}, 7 * time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, nil, func(w *world) {
				w.far.be(func(f *farSide) { f.answer = says(c.answer) })
				for range 10 {
					if answer := w.send(1, 100); !strings.Contains(answer.Text, "safe in the spool") {
						t.Fatalf("answered %s", answer)
					}
				}
				time.Sleep(day)
				if n := len(w.far.offered()); n < c.tries[0] || n > c.tries[1] {
					t.Errorf("asked %d times in a day", n)
				}
				if status := w.d.Status(); status.Held != c.kind || w.kept() != 10 {
					t.Errorf("held for %q, %d kept", status.Held, w.kept())
				}
				if events := w.events("upstream held"); len(events) != 1 || events[0]["kind"] != c.kind || !strings.Contains(events[0]["words"].(string), ": ") {
					t.Errorf("the journal has %v", events)
				}
				w.far.be(func(f *farSide) { f.answer = nil })
				time.Sleep(c.cured)
				if len(w.far.got()) != 10 || w.kept() != 0 {
					t.Errorf("%d arrived, %d kept", len(w.far.got()), w.kept())
				}
			})
		})
	}
}

func TestAServerThatTurnsUsAwayAtTheDoorIsReadToo(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.far.down = func(envelope.Envelope) error {
			return &upstream.Unavailable{Reason: "mx said: " + crowded.String(), Answer: crowded, Status: crowded.Status}
		}
		w.send(1, 100)
		if status := w.d.Status(); status.Held != "wait" || !strings.Contains(status.Reason, "too many connections at once") || status.Slots != 1 {
			t.Errorf("status %+v", status)
		}
	})
}

func TestWhatSaysThatItIsTheConfigurationIsHeldAsThat(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.far.down = func(envelope.Envelope) error {
			return &upstream.Unavailable{Reason: "no access token", Configuration: true, Status: reply.Status{Class: 4, Subject: 7}}
		}
		w.send(1, 100)
		if status := w.d.Status(); status.Held != "configuration" || status.Reason != "no access token" {
			t.Errorf("status %+v", status)
		}
		time.Sleep(day)
		if n := len(w.far.offered()); n < 80 || n > 150 {
			t.Errorf("asked %d times in a day", n)
		}
	})
}

func TestOneMessagesOwnFaultDoesNotHoldTheOthersForEver(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.far.answer = func(e envelope.Envelope, _ envelope.Address) reply.Reply {
			if e.ID == "M1" {
				return denied
			}
			return ok
		}
		w.send(1, 100)
		time.Sleep(10 * time.Minute)
		for range 200 {
			w.send(2, 100)
			time.Sleep(time.Minute)
		}
		if n := len(w.far.got()); n < 199 {
			t.Errorf("%d of 200 arrived", n)
		}
		if n := len(w.events("upstream held")); n > 3 {
			t.Errorf("the upstream was held %d times", n)
		}
		if w.kept() != 1 {
			t.Errorf("%d kept", w.kept())
		}
	})
}

func TestTooManyConnectionsAreFewerNextTimeAndSlowlyMoreAgain(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.far.be(func(f *farSide) { f.delay = func(envelope.Envelope) time.Duration { return time.Second } })
		w.far.answer = func(envelope.Envelope, envelope.Address) reply.Reply {
			w.far.mu.Lock()
			defer w.far.mu.Unlock()
			if w.far.open > 2 {
				return crowded
			}
			return ok
		}
		for i := range 40 {
			go w.sendAs("burst", i, 100)
		}
		time.Sleep(5 * time.Minute)
		if len(w.far.got()) != 40 || w.kept() != 0 {
			t.Errorf("%d arrived, %d kept", len(w.far.got()), w.kept())
		}
		if slots := w.d.Status().Slots; slots > 3 {
			t.Errorf("%d connections are used still", slots)
		}
		time.Sleep(time.Hour)
		if slots := w.d.Status().Slots; slots != 4 {
			t.Errorf("an hour later %d connections may be used", slots)
		}
	})
}

func TestNoMoreThanTheKnownRateIsSent(t *testing.T) {
	inWorld(t, func(c *setup) { c.Limits.Rate.Messages = 30 }, func(w *world) {
		for range 100 {
			w.send(1, 100)
		}
		time.Sleep(10 * time.Minute)
		offers := w.far.offered()
		if len(w.far.got()) != 100 {
			t.Fatalf("%d arrived", len(w.far.got()))
		}
		for i := range offers {
			if i+30 < len(offers) && offers[i+30].at.Sub(offers[i].at) < time.Minute {
				t.Fatalf("messages %d to %d went out within %s", i, i+30, offers[i+30].at.Sub(offers[i].at))
			}
		}
	})
}

func TestTheDaysRecipientsAreCountedAcrossARestart(t *testing.T) {
	inWorld(t, func(c *setup) { c.Limits.PerDay = 100 }, func(w *world) {
		for range 30 {
			w.send(1, 100, "a@x.example", "b@x.example")
		}
		w.restart()
		for range 30 {
			w.send(1, 100, "a@x.example", "b@x.example")
		}
		time.Sleep(2 * time.Hour)
		if n := len(w.far.got()); n != 50 {
			t.Errorf("%d messages of 2 recipients went out", n)
		}
		time.Sleep(25 * time.Hour)
		if n := len(w.far.got()); n != 60 || w.kept() != 0 {
			t.Errorf("%d arrived on the next day, %d kept", n, w.kept())
		}
	})
}

func TestTheDispatcherSleepsWhileAProbeIsUnderWay(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.far.be(func(f *farSide) { f.down = unreachableHost })
		w.send(1, 100)
		w.far.be(func(f *farSide) {
			f.down = nil
			f.delay = func(envelope.Envelope) time.Duration { return 5 * time.Minute }
		})
		time.Sleep(time.Minute)
		if wait, _ := w.d.start(time.Now()); wait < 10*time.Second {
			t.Errorf("it looks again after %s", wait)
		}
	})
}

func TestAttemptsUnderWayWhenTheUpstreamIsLostCountAsOneFailure(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.far.be(func(f *farSide) {
			f.down = func(e envelope.Envelope) error { time.Sleep(time.Second); return unreachableHost(e) }
		})
		for i := range 4 {
			go w.sendAs("lost", i, 100)
		}
		time.Sleep(2 * time.Second)
		if pause := time.Until(w.d.Status().Next); pause > 12*time.Second {
			t.Errorf("the first pause is %s", pause)
		}
	})
}

func TestOnlyOneProbeGoesOutThoughOlderAttemptsFailBesideIt(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		var mu sync.Mutex
		asked := 0
		w.far.down = func(e envelope.Envelope) error {
			mu.Lock()
			asked++
			n := asked
			mu.Unlock()
			switch {
			case n == 1:
				time.Sleep(time.Second)
			case n <= 4:
				time.Sleep(30 * time.Second)
			default:
				time.Sleep(3 * time.Minute)
			}
			return unreachableHost(e)
		}
		for i := range 4 {
			go w.sendAs("lost", i, 100)
		}
		time.Sleep(150 * time.Second)
		w.far.mu.Lock()
		defer w.far.mu.Unlock()
		if w.far.open != 1 {
			t.Errorf("%d probes are under way", w.far.open)
		}
	})
}

func TestARefusalOfItsOwnDoesNotResetTheBreaker(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.far.be(func(f *farSide) { f.answer = says(denied) })
		for range 20 {
			w.send(1, 100)
		}
		// Probes make suspects of most.
		time.Sleep(3 * time.Hour)
		var let atomic.Bool
		w.far.be(func(f *farSide) {
			f.answer = func(envelope.Envelope, envelope.Address) reply.Reply {
				if let.CompareAndSwap(false, true) {
					return ok
				}
				return denied
			}
		})
		time.Sleep(time.Hour)
		before := len(w.far.offered())
		time.Sleep(day)
		if n := len(w.far.offered()) - before; n > 200 {
			t.Errorf("asked %d times in a day", n)
		}
		if n := len(w.events("upstream resumed")); n > 2 {
			t.Errorf("resumed %d times without a message taken", n)
		}
		w.far.be(func(f *farSide) { f.answer = nil })
		time.Sleep(2 * time.Hour)
		if w.kept() != 0 {
			t.Errorf("%d kept", w.kept())
		}
	})
}

func TestABounceWaitsForTheCureLikeOtherMail(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		first := late(unknown)
		w.far.be(func(f *farSide) {
			f.answer = func(e envelope.Envelope, to envelope.Address) reply.Reply {
				if e.Report {
					return grey
				}
				return first(e, to)
			}
		})
		w.send(1, 100)
		time.Sleep(10 * time.Minute)
		w.far.be(func(f *farSide) { f.answer = says(denied) })
		w.sendAs("other", 2, 100)
		time.Sleep(day)
		if events := w.events("nobody to tell"); len(events) > 0 {
			t.Errorf("the bounce was given up: %v", events)
		}
		w.far.be(func(f *farSide) { f.answer = nil })
		time.Sleep(2 * time.Hour)
		if len(w.far.got()) != 2 || w.kept() != 0 {
			t.Errorf("%d arrived, %d kept", len(w.far.got()), w.kept())
		}
	})
}

func TestOneMessageOnWhichTheServerHangsUpDoesNotStopItsClientsOthers(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.far.down = func(e envelope.Envelope) error {
			if e.ID == "M1" {
				return &upstream.Unavailable{Status: reply.Status{Class: 4, Subject: 4, Detail: 2}, Reason: "broke off", DuringTransaction: true}
			}
			return nil
		}
		for range 10 {
			w.send(1, 100)
		}
		time.Sleep(2 * time.Hour)
		if n := len(w.far.got()); n != 9 {
			t.Errorf("%d of 9 arrived", n)
		}
		for range 24 {
			if answer := w.send(1, 100); !strings.Contains(answer.Text, "taken by") {
				t.Errorf("answered %s", answer)
			}
			time.Sleep(time.Hour)
		}
		time.Sleep(6 * day)
		for range 3 {
			w.send(1, 100)
			time.Sleep(2 * time.Hour)
		}
		if w.kept() != 0 {
			t.Errorf("%d kept", w.kept())
		}
	})
}
