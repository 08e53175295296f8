package dispatch

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"sealpost/relay/dispatch/throttle"
	"sealpost/relay/envelope"
	"sealpost/relay/reply"
	"sealpost/relay/upstream"
)

// withRoutes runs do with two routes, "first" and "second".
func withRoutes(t *testing.T, change func(*setup), do func(w *harness, first, second *fakeUpstream)) {
	t.Helper()
	second := &fakeUpstream{}
	withHarness(t, func(c *setup) {
		c.Name = "first"
		c.others = []Route{{Name: "second", Upstream: second, Limits: c.Limits, Retry: c.Retry,
			Notify: Notify{Reporter: "relay.contoso.com", From: "box@contoso.com", Sender: "box@contoso.com", Alert: "it@contoso.com"}}}
		if change != nil {
			change(c)
		}
	}, func(w *harness) { do(w, w.upstream, second) })
}

// unusable is the error of an upstream that needs a change of the configuration.
func unusable(envelope.Envelope) error {
	return &upstream.Unavailable{Status: reply.Status{Class: 4, Subject: 3, Detail: 5}, Reason: "the key cannot be used", Configuration: true}
}

// heldReplies are the faults of a route after which the next one takes over.
var heldReplies = []reply.Reply{relayDenied, tooManyConnections, serverBusy, quotaExceeded}

func TestRoutes_TheNextOneTakesOverWhileTheClientWaits(t *testing.T) {
	faults := map[string]func(*fakeUpstream){
		"unreachable":   func(f *fakeUpstream) { f.fail = unreachableHost },
		"configuration": func(f *fakeUpstream) { f.fail = unusable },
	}
	for _, r := range heldReplies {
		faults[r.String()+" to RCPT"] = func(f *fakeUpstream) { f.rcptReply = alwaysReply(r) }
		faults[r.String()+" to the content"] = func(f *fakeUpstream) { f.dataReply = func(envelope.Envelope) reply.Reply { return r } }
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			withRoutes(t, nil, func(w *harness, first, second *fakeUpstream) {
				first.set(fault)
				for range 3 {
					if r := w.send(1, 100); r.Code != 250 || !strings.HasPrefix(r.Text, "accepted by mx: 250") ||
						!strings.Contains(r.Text, "\nsent by second, because of first: ") {
						t.Errorf("got reply %s", r)
					}
				}
				if len(second.accepted()) != 3 || len(first.offered()) != 1 || w.queued() != 0 {
					t.Errorf("got %d offered to first, %d accepted by second, %d queued", len(first.offered()), len(second.accepted()), w.queued())
				}
				s := w.d.Status()
				if s.Held != "" || len(s.Routes) != 2 || s.Routes[0].Held == "" || s.Routes[1].Held != "" || s.Routes[0].Name != "first" {
					t.Errorf("got status %+v", s)
				}
				if held := w.events("upstream held"); len(held) != 1 || held[0]["route"] != "first" {
					t.Errorf("got events %v", held)
				}
				for _, e := range w.events("delivered") {
					if over := e["upstream"].(map[string]any); over["route"] != "second" || !strings.HasPrefix(fmt.Sprint(over["because"]), "first: ") {
						t.Errorf("got event %v", e)
					}
				}
			})
		})
	}
}

func TestRoutes_TheFirstOneIsUsedAgainOnceItsProbeSucceeds(t *testing.T) {
	withRoutes(t, nil, func(w *harness, first, second *fakeUpstream) {
		first.set(func(f *fakeUpstream) { f.fail = unreachableHost })
		begun := time.Now()
		for time.Since(begun) < 2*time.Hour {
			if r := w.send(1, 100); !strings.Contains(r.Text, "accepted by mx") {
				t.Errorf("got reply %s", r)
			}
			time.Sleep(10 * time.Second)
		}
		// A probe every five minutes at most, and each of its messages took the second route at once.
		if probes := len(first.offered()); probes < 10 || probes > 60 || len(second.accepted()) != w.count {
			t.Errorf("got %d probes, %d of %d accepted by second", probes, len(second.accepted()), w.count)
		}
		first.set(func(f *fakeUpstream) { f.fail = nil })
		before := w.count
		for range 60 {
			w.send(1, 100)
			time.Sleep(10 * time.Second)
		}
		if n := len(first.accepted()); n < 20 || n+len(second.accepted()) != w.count {
			t.Errorf("after the cure: got %d of %d accepted by first", n, w.count-before)
		}
		second.set(func(f *fakeUpstream) { f.fail = unreachableHost })
		offered := len(second.offered())
		w.send(1, 100)
		if len(second.offered()) != offered {
			t.Error("the second route was used although the first one works")
		}
	})
}

func TestRoutes_DrainTheQueueOverTheNextOne(t *testing.T) {
	withRoutes(t, nil, func(w *harness, first, second *fakeUpstream) {
		for _, f := range []*fakeUpstream{first, second} {
			f.set(func(f *fakeUpstream) { f.fail = unreachableHost })
		}
		for range 20 {
			if r := w.send(1, 100); r.Code != 250 || !strings.Contains(r.Text, "is queued") {
				t.Errorf("got reply %s", r)
			}
		}
		if s := w.d.Status(); s.Held == "" || w.queued() != 20 {
			t.Errorf("got status %+v, %d queued", s, w.queued())
		}
		w.restart()
		second.set(func(f *fakeUpstream) { f.fail = nil })
		time.Sleep(time.Hour)
		if len(second.accepted()) != 20 || w.queued() != 0 || w.assigned() != 0 {
			t.Errorf("got %d accepted by second, %d queued, %d assigned", len(second.accepted()), w.queued(), w.assigned())
		}
	})
}

func TestRoutes_AMessagesOwnFaultStaysWithItsRoute(t *testing.T) {
	for name, c := range map[string]struct {
		fault func(*fakeUpstream)
		code  int
	}{
		"unknown user": {func(f *fakeUpstream) { f.rcptReply = alwaysReply(userUnknown) }, 550},
		"refused sender": {func(f *fakeUpstream) {
			f.mailReply = func(envelope.Envelope) reply.Reply { return reply.New(550, 1, 0, "bad sender") }
		}, 550},
		"greylisted": {func(f *fakeUpstream) { f.rcptReply = alwaysReply(greylisted) }, 250},
	} {
		t.Run(name, func(t *testing.T) {
			withRoutes(t, nil, func(w *harness, first, second *fakeUpstream) {
				first.set(c.fault)
				if r := w.send(1, 100); r.Code != c.code {
					t.Errorf("got reply %s", r)
				}
				time.Sleep(time.Hour)
				if n := len(second.offered()); n != 0 {
					t.Errorf("got %d offers to second, want none", n)
				}
			})
		})
	}
}

func TestRoutes_KeepLimitsOfTheirOwn(t *testing.T) {
	withRoutes(t, func(c *setup) {
		c.Limits = throttle.Limits{Connections: 2, Rate: throttle.Rate{Messages: 6}}
		c.others[0].Limits = throttle.Limits{Connections: 4, Rate: throttle.Rate{Messages: 30}, PerDay: 250}
	}, func(w *harness, first, second *fakeUpstream) {
		for n := range 100 {
			go w.sendAs(fmt.Sprint("L", n), 1, 100)
		}
		time.Sleep(time.Minute)
		if n := len(first.accepted()); n == 0 || n > 6 || len(second.offered()) != 0 {
			t.Errorf("in a minute: got %d accepted by first, %d offered to second", n, len(second.offered()))
		}
		first.set(func(f *fakeUpstream) { f.fail = unreachableHost })
		time.Sleep(90 * time.Second)
		if n := len(second.accepted()); n < 20 || n > 60 {
			t.Errorf("in 90 seconds: got %d accepted by second", n)
		}
		time.Sleep(time.Hour)
		if n := len(first.accepted()) + len(second.accepted()); n != 100 {
			t.Errorf("got %d of 100", n)
		}
		for name, counted := range map[string]int{"first": len(first.accepted()), "second": len(second.accepted())} {
			for _, r := range w.d.Status().Routes {
				if r.Name == name && r.Recipients != counted {
					t.Errorf("%s: got %d recipients in the ledger, want %d", name, r.Recipients, counted)
				}
			}
		}
		second.set(func(f *fakeUpstream) {
			if f.mostOpen > 4 {
				t.Errorf("got %d connections to second, want at most 4", f.mostOpen)
			}
		})
		w.restart()
		if s := w.d.Status(); s.Routes[1].Recipients != len(second.accepted()) || s.Routes[1].Recipients == 0 {
			t.Errorf("after a restart: got %+v", s.Routes)
		}
	})
}

func TestRoutes_ReadAMemoOfASingleRoute(t *testing.T) {
	withRoutes(t, func(c *setup) { c.Limits.PerDay, c.others[0].Limits.PerDay = 1000, 1000 }, func(w *harness, _, _ *fakeUpstream) {
		for range 30 {
			w.send(1, 100)
		}
		w.d.mu.Lock()
		old := w.d.routes[0].throttle.Memo(time.Now(), 4096)
		w.d.mu.Unlock()
		w.close()
		w.open()
		q, _ := w.d.Queue()
		if err := q.SetMemo(old); err != nil {
			t.Fatal(err)
		}
		w.d.SetQueue(q)
		if s := w.d.Status(); s.Routes[0].Recipients != 30 || s.Routes[1].Recipients != 0 {
			t.Errorf("got %+v", s.Routes)
		}
	})
}

func TestRoutes_ShareTheMemo(t *testing.T) {
	withRoutes(t, func(c *setup) { c.Limits.PerDay, c.others[0].Limits.PerDay = 1000, 1000 }, func(w *harness, first, second *fakeUpstream) {
		byMessage := func(e envelope.Envelope) string { return strings.Repeat("x", 40) + e.ID + "@contoso.com" }
		for _, f := range []*fakeUpstream{first, second} {
			f.set(func(f *fakeUpstream) { f.account = byMessage })
		}
		for n := range 120 {
			if n == 60 {
				first.set(func(f *fakeUpstream) { f.fail = unreachableHost })
			}
			w.send(1, 100)
		}
		w.restart()
		q, _ := w.d.Queue()
		if memo := q.Memo(); len(memo) > 4096 || len(memo) < 3000 {
			t.Errorf("got a memo of %d octets", len(memo))
		}
		if s := w.d.Status(); s.Routes[0].Recipients == 0 || s.Routes[1].Recipients == 0 {
			t.Errorf("got %+v", s.Routes)
		}
	})
}

func TestRoutes_AHeldAccountTakesTheNextOneAlone(t *testing.T) {
	withRoutes(t, nil, func(w *harness, first, second *fakeUpstream) {
		first.set(func(f *fakeUpstream) { f.account, f.fail = accountByClient, loginRefused("1@contoso.com") })
		for client := range 3 {
			if r := w.send(client, 100); !strings.Contains(r.Text, "accepted by mx") {
				t.Errorf("got reply %s", r)
			}
		}
		w.send(1, 100)
		if got := ids(second.accepted()); got != "M2 M4" || w.queued() != 0 {
			t.Errorf("got %q accepted by second, %d queued", got, w.queued())
		}
		if s := w.d.Status(); s.Held != "" || len(s.Accounts) != 0 {
			t.Errorf("got %+v", s)
		}
	})
}

func TestRoutes_ANotificationHasTheReversePathOfItsRoute(t *testing.T) {
	withRoutes(t, func(c *setup) { c.Notify.From, c.Notify.Sender = "box@contoso.com", "box@contoso.com" }, func(w *harness, first, second *fakeUpstream) {
		for round, c := range []struct {
			failing, relaying *fakeUpstream
			sender            envelope.Address
		}{{nil, first, ""}, {first, second, "box@contoso.com"}} {
			refusing := cmp.Or(c.failing, first)
			refusing.set(func(f *fakeUpstream) { f.rcptReply = deferThenReply(userUnknown) })
			w.send(1, 100, envelope.Address(fmt.Sprintf("nobody%d@x.example", round)))
			if c.failing != nil {
				// The notification is written while first works, and sent by second.
				c.failing.set(func(f *fakeUpstream) {
					f.fail = func(e envelope.Envelope) error {
						if e.Report {
							return unreachableHost(e)
						}
						return nil
					}
				})
			}
			time.Sleep(30 * time.Minute)
			got := c.relaying.accepted()
			if len(got) == 0 || !got[len(got)-1].envelope.Report || got[len(got)-1].envelope.Sender != c.sender {
				t.Errorf("round %d: got %+v", round, got)
			}
		}
	})
}

func TestRoutes_QueueAMessageWhoseAttemptOutlastsItsClient(t *testing.T) {
	withRoutes(t, nil, func(w *harness, first, second *fakeUpstream) {
		slow := func(e envelope.Envelope) error {
			time.Sleep(time.Minute)
			return unreachableHost(e)
		}
		first.set(func(f *fakeUpstream) { f.fail = slow })
		begun := time.Now()
		r := w.send(1, 100)
		if took := time.Since(begun); r.Code != 250 || !strings.Contains(r.Text, "is queued") || took != 5*time.Second {
			t.Errorf("after %s: got reply %s", took, r)
		}
		time.Sleep(56 * time.Second)
		if got := ids(second.accepted()); got != "M1" || w.queued() != 0 {
			t.Errorf("got %q accepted by second, %d queued", got, w.queued())
		}
	})
}

func TestRoutes_TakeOverWithoutAQueue(t *testing.T) {
	withRoutes(t, nil, func(w *harness, first, second *fakeUpstream) {
		original := w.d
		w.start()
		first.set(func(f *fakeUpstream) { f.fail = unreachableHost })
		if r := w.send(1, 100); !strings.Contains(r.Text, "accepted by mx") || !strings.Contains(r.Text, "sent by second") {
			t.Errorf("got reply %s", r)
		}
		second.set(func(f *fakeUpstream) { f.fail = unreachableHost })
		w.d.SetQueueError(errNoSpool)
		if r := w.send(1, 100); r.Code != 451 {
			t.Errorf("got reply %s", r)
		}
		if err := w.d.Close(context.Background()); err != nil {
			t.Error(err)
		}
		w.d = original
	})
}

func TestRoutes_WaitForTheClockTogether(t *testing.T) {
	withRoutes(t, nil, func(w *harness, first, second *fakeUpstream) {
		w.d.AwaitClock("the clock is not set")
		if r := w.send(1, 100); r.Code != 250 || w.d.Status().Held != "clock" {
			t.Errorf("got reply %s, status %+v", r, w.d.Status())
		}
		time.Sleep(time.Hour)
		if n := len(first.offered()) + len(second.offered()); n != 0 {
			t.Errorf("got %d offers before the clock was set", n)
		}
		w.d.ClockSet()
		time.Sleep(time.Minute)
		if got := ids(first.accepted()); got != "M1" {
			t.Errorf("got %q", got)
		}
	})
}

func TestRoutes_ANotificationNamesTheOneThatFailed(t *testing.T) {
	withRoutes(t, nil, func(w *harness, first, _ *fakeUpstream) {
		first.set(func(f *fakeUpstream) { f.rcptReply = deferThenReply(userUnknown) })
		w.send(1, 100)
		time.Sleep(time.Hour)
		got := first.accepted()
		if len(got) != 1 || !strings.Contains(strings.ReplaceAll(got[0].content, "=\r\n", ""), "said, by first: 550 5.1.1") {
			t.Errorf("got %+v", got)
		}
	})
}

func TestRoutes_OneThatDoesNotTakeTheRecipientIsNotOfferedTheMessage(t *testing.T) {
	withRoutes(t, func(c *setup) {
		c.others[0].Takes = func(to envelope.Address) bool { return to.Domain() == "x.example" }
	}, func(w *harness, first, second *fakeUpstream) {
		first.set(func(f *fakeUpstream) { f.fail = unreachableHost })
		if r := w.send(1, 100, "a@y.example"); r.Code != 250 || !strings.Contains(r.Text, "is queued") {
			t.Errorf("got reply %s", r)
		}
		if r := w.send(1, 100, "a@x.example"); !strings.Contains(r.Text, "sent by second") {
			t.Errorf("got reply %s", r)
		}
		time.Sleep(time.Hour)
		if got := ids(second.accepted()); got != "M2" || w.queued() != 1 {
			t.Errorf("got %q accepted by second, %d queued", got, w.queued())
		}
		first.set(func(f *fakeUpstream) { f.fail = nil })
		time.Sleep(time.Hour)
		if got := ids(first.accepted()); got != "M1" || w.queued() != 0 {
			t.Errorf("got %q accepted by first, %d queued", got, w.queued())
		}
	})
}

func TestRoutes_TheNextOneTakesOverWhenALimitIsUsedUpForLong(t *testing.T) {
	withRoutes(t, func(c *setup) { c.Limits.PerDay = 5 }, func(w *harness, first, second *fakeUpstream) {
		for range 10 {
			if r := w.send(1, 100); r.Code != 250 || !strings.HasPrefix(r.Text, "accepted") {
				t.Errorf("got reply %s", r)
			}
		}
		if len(first.accepted()) != 5 || len(second.accepted()) != 5 || w.queued() != 0 {
			t.Errorf("got %d over first, %d over second, %d queued, want 5, 5 and none", len(first.accepted()), len(second.accepted()), w.queued())
		}
		time.Sleep(25 * time.Hour)
		if w.send(1, 100); len(first.accepted()) != 6 {
			t.Errorf("a day later: got %d over first, want 6", len(first.accepted()))
		}
	})
}
