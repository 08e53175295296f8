package dispatch

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sealpost/relay/envelope"
	"sealpost/relay/reply"
	"sealpost/relay/upstream"
)

func TestBreaker_HoldsAllMailUntilUpstreamRecovers(t *testing.T) {
	for _, c := range []struct {
		name     string
		reply    reply.Reply
		kind     string
		attempts [2]int        // in the first day, minimum and maximum
		recovery time.Duration // maximum until all is delivered
	}{
		{"no connector matches", relayDenied, "configuration", [2]int{80, 150}, 20 * time.Minute},
		{"direct send rejected", reply.New(550, 7, 68, "TenantInboundAttribution"), "configuration", [2]int{80, 150}, 20 * time.Minute},
		{"banned address", reply.New(550, 7, 606, "banned"), "configuration", [2]int{80, 150}, 20 * time.Minute},
		{"blocked sender", reply.New(550, 1, 8, "Access denied, bad outbound sender"), "blocked", [2]int{20, 32}, 75 * time.Minute},
		{"tenant blocked", reply.New(550, 7, 705, "Access denied, tenant has exceeded threshold"), "blocked", [2]int{20, 32}, 75 * time.Minute},
		{"address not accepted", reply.New(550, 7, 708, "Access denied, traffic not accepted from this IP"), "blocked", [2]int{20, 32}, 75 * time.Minute},
		{"connector blocked", reply.New(550, 7, 711, "Access denied, bad inbound connector. AS(2204)"), "blocked", [2]int{20, 32}, 75 * time.Minute},
		{"daily limit", reply.New(554, 2, 0, "STOREDRV.Submission.Exception:SubmissionQuotaExceededException"), "wait for reset", [2]int{20, 32}, 75 * time.Minute},
		{"throttled", serverBusy, "wait long", [2]int{24, 60}, 75 * time.Minute},
		{"too many connections", tooManyConnections, "wait", [2]int{200, 600}, 7 * time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			withHarness(t, nil, func(w *harness) {
				w.upstream.set(func(f *fakeUpstream) { f.rcptReply = alwaysReply(c.reply) })
				for range 10 {
					if r := w.send(1, 100); !strings.Contains(r.Text, "is queued") {
						t.Fatalf("got reply %s", r)
					}
				}
				time.Sleep(day)
				if n := len(w.upstream.offered()); n < c.attempts[0] || n > c.attempts[1] {
					t.Errorf("got %d attempts in a day", n)
				}
				if status := w.d.Status(); status.Held != c.kind || w.queued() != 10 {
					t.Errorf("got held %q, %d queued, want %q and 10", status.Held, w.queued(), c.kind)
				}
				if events := w.events("upstream held"); len(events) != 1 || events[0]["kind"] != c.kind || !strings.Contains(events[0]["words"].(string), ": ") {
					t.Errorf("got journal events %v", events)
				}
				w.upstream.set(func(f *fakeUpstream) { f.rcptReply = nil })
				time.Sleep(c.recovery)
				if len(w.upstream.accepted()) != 10 || w.queued() != 0 {
					t.Errorf("got %d delivered, %d queued, want 10 and 0", len(w.upstream.accepted()), w.queued())
				}
			})
		})
	}
}

func TestBreaker_ClassifiesTheReplyOfARejectedSession(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		w.upstream.fail = func(envelope.Envelope) error {
			return &upstream.Unavailable{Reason: "mx said: " + tooManyConnections.String(), ServerReply: tooManyConnections, Status: tooManyConnections.Status}
		}
		w.send(1, 100)
		if status := w.d.Status(); status.Held != "wait" || !strings.Contains(status.Reason, "too many connections at once") || status.Slots != 1 {
			t.Errorf("got status %+v", status)
		}
	})
}

func TestBreaker_HoldsMailForAConfigurationFault(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		w.upstream.fail = func(envelope.Envelope) error {
			return &upstream.Unavailable{Reason: "no access token", Configuration: true, Status: reply.Status{Class: 4, Subject: 7}}
		}
		w.send(1, 100)
		if status := w.d.Status(); status.Held != "configuration" || status.Reason != "no access token" {
			t.Errorf("got status %+v", status)
		}
		time.Sleep(day)
		if n := len(w.upstream.offered()); n < 80 || n > 150 {
			t.Errorf("got %d attempts in a day", n)
		}
	})
}

func TestBreaker_IgnoresAFaultOfOneMessage(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		w.upstream.rcptReply = func(e envelope.Envelope, _ envelope.Address) reply.Reply {
			if e.ID == "M1" {
				return relayDenied
			}
			return rcptOK
		}
		w.send(1, 100)
		time.Sleep(10 * time.Minute)
		for range 200 {
			w.send(2, 100)
			time.Sleep(time.Minute)
		}
		if n := len(w.upstream.accepted()); n < 199 {
			t.Errorf("got %d delivered, want at least 199", n)
		}
		if n := len(w.events("upstream held")); n > 3 {
			t.Errorf("got %d trips, want at most 3", n)
		}
		if w.queued() != 1 {
			t.Errorf("got %d queued, want 1", w.queued())
		}
	})
}

func TestThrottle_LowersAndRaisesConnections(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		w.upstream.set(func(f *fakeUpstream) { f.delay = func(envelope.Envelope) time.Duration { return time.Second } })
		w.upstream.rcptReply = func(envelope.Envelope, envelope.Address) reply.Reply {
			w.upstream.mu.Lock()
			defer w.upstream.mu.Unlock()
			if w.upstream.open > 2 {
				return tooManyConnections
			}
			return rcptOK
		}
		for i := range 40 {
			go w.sendAs("burst", i, 100)
		}
		time.Sleep(5 * time.Minute)
		if len(w.upstream.accepted()) != 40 || w.queued() != 0 {
			t.Errorf("got %d delivered, %d queued, want 40 and 0", len(w.upstream.accepted()), w.queued())
		}
		if slots := w.d.Status().Slots; slots > 3 {
			t.Errorf("got %d slots, want at most 3", slots)
		}
		time.Sleep(time.Hour)
		if slots := w.d.Status().Slots; slots != 4 {
			t.Errorf("an hour later: got %d slots, want 4", slots)
		}
	})
}

func TestThrottle_LimitsRate(t *testing.T) {
	withHarness(t, func(c *setup) { c.Limits.Rate.Messages = 30 }, func(w *harness) {
		for range 100 {
			w.send(1, 100)
		}
		time.Sleep(10 * time.Minute)
		offers := w.upstream.offered()
		if len(w.upstream.accepted()) != 100 {
			t.Fatalf("got %d delivered, want 100", len(w.upstream.accepted()))
		}
		for i := range offers {
			if i+30 < len(offers) && offers[i+30].at.Sub(offers[i].at) < time.Minute {
				t.Fatalf("messages %d to %d: got %s between them, want at least 1m", i, i+30, offers[i+30].at.Sub(offers[i].at))
			}
		}
	})
}

func TestThrottle_CountsDailyRecipientsAcrossARestart(t *testing.T) {
	withHarness(t, func(c *setup) { c.Limits.PerDay = 100 }, func(w *harness) {
		for range 30 {
			w.send(1, 100, "a@x.example", "b@x.example")
		}
		w.restart()
		for range 30 {
			w.send(1, 100, "a@x.example", "b@x.example")
		}
		time.Sleep(2 * time.Hour)
		if n := len(w.upstream.accepted()); n != 50 {
			t.Errorf("got %d messages of 2 recipients delivered, want 50", n)
		}
		time.Sleep(25 * time.Hour)
		if n := len(w.upstream.accepted()); n != 60 || w.queued() != 0 {
			t.Errorf("next day: got %d delivered, %d queued, want 60 and 0", n, w.queued())
		}
	})
}

func TestDispatcher_SleepsWhileAProbeIsActive(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		w.upstream.set(func(f *fakeUpstream) { f.fail = unreachableHost })
		w.send(1, 100)
		w.upstream.set(func(f *fakeUpstream) {
			f.fail = nil
			f.delay = func(envelope.Envelope) time.Duration { return 5 * time.Minute }
		})
		time.Sleep(time.Minute)
		w.d.mu.Lock()
		wait := w.d.start(time.Now())
		w.d.mu.Unlock()
		if wait < 10*time.Second {
			t.Errorf("got next check after %s, want at least 10s", wait)
		}
	})
}

func TestBreaker_CountsConcurrentFailuresOnce(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		w.upstream.set(func(f *fakeUpstream) {
			f.fail = func(e envelope.Envelope) error { time.Sleep(time.Second); return unreachableHost(e) }
		})
		for i := range 4 {
			go w.sendAs("lost", i, 100)
		}
		time.Sleep(2 * time.Second)
		if pause := time.Until(w.d.Status().Next); pause > 12*time.Second {
			t.Errorf("got first pause %s, want at most 12s", pause)
		}
	})
}

func TestBreaker_SendsOneProbeAtATime(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		var mu sync.Mutex
		probes := 0
		w.upstream.fail = func(e envelope.Envelope) error {
			mu.Lock()
			probes++
			n := probes
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
		w.upstream.mu.Lock()
		defer w.upstream.mu.Unlock()
		if w.upstream.open != 1 {
			t.Errorf("got %d active probes, want 1", w.upstream.open)
		}
	})
}

func TestBreaker_IsNotResetByAMessageFault(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		w.upstream.set(func(f *fakeUpstream) { f.rcptReply = alwaysReply(relayDenied) })
		for range 20 {
			w.send(1, 100)
		}
		// By then most messages have been probes and failed.
		time.Sleep(3 * time.Hour)
		var accepted atomic.Bool
		w.upstream.set(func(f *fakeUpstream) {
			f.rcptReply = func(envelope.Envelope, envelope.Address) reply.Reply {
				if accepted.CompareAndSwap(false, true) {
					return rcptOK
				}
				return relayDenied
			}
		})
		time.Sleep(time.Hour)
		before := len(w.upstream.offered())
		time.Sleep(day)
		if n := len(w.upstream.offered()) - before; n > 200 {
			t.Errorf("got %d attempts in a day", n)
		}
		if n := len(w.events("upstream resumed")); n > 2 {
			t.Errorf("got %d resumes without an accepted message, want at most 2", n)
		}
		w.upstream.set(func(f *fakeUpstream) { f.rcptReply = nil })
		time.Sleep(2 * time.Hour)
		if w.queued() != 0 {
			t.Errorf("got %d queued, want 0", w.queued())
		}
	})
}

func TestBreaker_HoldsBouncesToo(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		first := deferThenReply(userUnknown)
		w.upstream.set(func(f *fakeUpstream) {
			f.rcptReply = func(e envelope.Envelope, to envelope.Address) reply.Reply {
				if e.Report {
					return greylisted
				}
				return first(e, to)
			}
		})
		w.send(1, 100)
		time.Sleep(10 * time.Minute)
		w.upstream.set(func(f *fakeUpstream) { f.rcptReply = alwaysReply(relayDenied) })
		w.sendAs("other", 2, 100)
		time.Sleep(day)
		if events := w.events("no notification"); len(events) > 0 {
			t.Errorf("got %v, want the notification to wait", events)
		}
		w.upstream.set(func(f *fakeUpstream) { f.rcptReply = nil })
		time.Sleep(2 * time.Hour)
		if len(w.upstream.accepted()) != 2 || w.queued() != 0 {
			t.Errorf("got %d delivered, %d queued, want 2 and 0", len(w.upstream.accepted()), w.queued())
		}
	})
}

func TestBreaker_IgnoresAMessageOnWhichTheServerDisconnects(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		w.upstream.fail = func(e envelope.Envelope) error {
			if e.ID == "M1" {
				return &upstream.Unavailable{Status: reply.Status{Class: 4, Subject: 4, Detail: 2}, Reason: "was lost", DuringTransaction: true}
			}
			return nil
		}
		for range 10 {
			w.send(1, 100)
		}
		time.Sleep(2 * time.Hour)
		if n := len(w.upstream.accepted()); n != 9 {
			t.Errorf("got %d delivered, want 9", n)
		}
		for range 24 {
			if r := w.send(1, 100); !strings.Contains(r.Text, "accepted by") {
				t.Errorf("got reply %s", r)
			}
			time.Sleep(time.Hour)
		}
		time.Sleep(6 * day)
		for range 3 {
			w.send(1, 100)
			time.Sleep(2 * time.Hour)
		}
		if w.queued() != 0 {
			t.Errorf("got %d queued, want 0", w.queued())
		}
	})
}

// TestBreaker_IgnoresFaultsOfForeignSenders has a device that sends from a foreign
// domain, and no default sender.
func TestBreaker_IgnoresFaultsOfForeignSenders(t *testing.T) {
	withHarness(t, func(s *setup) {
		s.Route.Relays = func(sender envelope.Address) bool { return sender.Domain() == "contoso.com" }
	}, func(w *harness) {
		w.upstream.rcptReply = func(e envelope.Envelope, _ envelope.Address) reply.Reply {
			if e.Sender.Domain() != "contoso.com" {
				return relayDenied
			}
			return rcptOK
		}
		for n := range 10 {
			r := w.sendFrom("scanner@elsewhere.example", fmt.Sprint("F", n), 2, 100)
			if r.Code != 550 || !strings.Contains(r.Text, "senders.default") {
				t.Errorf("got reply %s", r)
			}
			if r := w.sendAs(fmt.Sprint("M", n), 1, 100); !strings.Contains(r.Text, "accepted by") {
				t.Errorf("got reply %s", r)
			}
		}
		if w.queued() != 0 || len(w.events("upstream held")) > 0 {
			t.Errorf("got %d queued, %v", w.queued(), w.events("upstream held"))
		}
		// The same reply to a sender of the site is about the site, and stays so
		// when a foreign sender gets it too.
		w.upstream.set(func(f *fakeUpstream) { f.rcptReply = alwaysReply(relayDenied) })
		w.sendAs("own", 1, 100)
		w.sendFrom("scanner@elsewhere.example", "foreign", 2, 100)
		if w.d.Status().Held != "configuration" || w.queued() != 2 {
			t.Errorf("got %+v, %d queued", w.d.Status(), w.queued())
		}
	})
}

// TestBreaker_IgnoresASourceOnWhichTheServerDisconnects has a device on whose messages
// the server disconnects, each with another ID.
func TestBreaker_IgnoresASourceOnWhichTheServerDisconnects(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		w.upstream.fail = func(e envelope.Envelope) error {
			if e.Client.String() == "10.0.0.2" {
				return &upstream.Unavailable{Status: reply.Status{Class: 4, Subject: 4, Detail: 2}, Reason: "was lost", DuringTransaction: true}
			}
			return nil
		}
		direct := 0
		w.sendAs("bad", 2, 100)
		time.Sleep(10 * time.Minute)
		for n := range 40 {
			w.sendAs(fmt.Sprint("bad", n), 2, 100)
			if r := w.sendAs(fmt.Sprint("good", n), 1, 100); strings.Contains(r.Text, "accepted by") {
				direct++
			}
			time.Sleep(time.Minute)
		}
		if direct < 20 {
			t.Errorf("got %d of 40 messages accepted at once, want at least 20", direct)
		}
		if n := len(w.events("upstream held")); n > 3 {
			t.Errorf("got %d trips", n)
		}
	})
}

// TestBreaker_HoldsMailForAnUnknownBlock has a server that rejects every MAIL with a
// policy code that is not in the table.
func TestBreaker_HoldsMailForAnUnknownBlock(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		w.upstream.mailReply = func(envelope.Envelope) reply.Reply { return reply.New(550, 7, 799, "Access denied") }
		if r := w.sendAs("first", 1, 100); r.Code != 550 {
			t.Errorf("one message alone: got reply %s", r)
		}
		for n := range 5 {
			if r := w.sendAs(fmt.Sprint("other", n), 1+n%2, 100); !strings.Contains(r.Text, "is queued") {
				t.Errorf("got reply %s", r)
			}
		}
		time.Sleep(day)
		if status := w.d.Status(); status.Held != "configuration" || w.queued() != 5 || !strings.Contains(status.Reason, "5.7.799") {
			t.Errorf("got %+v, %d queued", status, w.queued())
		}
		w.upstream.set(func(f *fakeUpstream) { f.mailReply = nil })
		time.Sleep(time.Hour)
		if len(w.upstream.accepted()) != 5 || w.queued() != 0 {
			t.Errorf("got %d delivered, %d queued, want 5 and 0", len(w.upstream.accepted()), w.queued())
		}
	})
}

// TestBreaker_DoesNotHoldMailForTheUnknownCodeOfOneSource has a device whose messages are
// all rejected, at times between which no other device sends.
func TestBreaker_DoesNotHoldMailForTheUnknownCodeOfOneSource(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		w.upstream.mailReply = func(e envelope.Envelope) reply.Reply {
			if e.Client.String() == "10.0.0.2" {
				return reply.New(550, 7, 799, "Access denied")
			}
			return reply.Reply{}
		}
		if r := w.sendAs("first", 2, 100); r.Code != 550 {
			t.Errorf("the first message: got reply %s", r)
		}
		for n := range 10 {
			if r := w.sendAs(fmt.Sprint("bad", n), 2, 100); !strings.Contains(r.Text, "is queued") || !strings.Contains(r.Text, "5.7.799") {
				t.Errorf("got reply %s", r)
			}
			time.Sleep(7 * time.Minute)
		}
		if status := w.d.Status(); status.Held != "" || w.queued() != 10 {
			t.Errorf("got held %q, %d queued, want 10 queued and nothing held", status.Held, w.queued())
		}
		if r := w.sendAs("good", 1, 100); !strings.Contains(r.Text, "accepted by") {
			t.Errorf("another device: got reply %s", r)
		}
		// Now the server accepts mail: the messages are at fault.
		time.Sleep(3 * time.Hour)
		if accepted := w.upstream.accepted(); w.queued() != 0 || !slices.ContainsFunc(accepted, func(h transaction) bool { return h.envelope.Report }) {
			t.Errorf("got %d queued, %d accepted, want the messages returned", w.queued(), len(accepted))
		}
	})
}

// TestBreaker_RefusesAMessageWithAnUnknownCode has a server that rejects MAIL of one
// sender and accepts the others.
func TestBreaker_RefusesAMessageWithAnUnknownCode(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		w.upstream.mailReply = func(e envelope.Envelope) reply.Reply {
			if e.Client.String() == "10.0.0.2" {
				return reply.New(550, 7, 799, "Access denied")
			}
			return reply.Reply{}
		}
		for n := range 5 {
			if r := w.sendAs(fmt.Sprint("bad", n), 2, 100); r.Code != 550 {
				t.Errorf("got reply %s", r)
			}
			if r := w.sendAs(fmt.Sprint("good", n), 1, 100); !strings.Contains(r.Text, "accepted by") {
				t.Errorf("got reply %s", r)
			}
		}
		if w.queued() != 0 || w.d.Status().Held != "" {
			t.Errorf("got %d queued, held %q", w.queued(), w.d.Status().Held)
		}
	})
}

// TestBreaker_RefusesAMessageWithAnUnknownCodeAfterAnOutage has a server that was
// unreachable; the probe then is a message of which only its own sender is rejected.
func TestBreaker_RefusesAMessageWithAnUnknownCodeAfterAnOutage(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		w.upstream.fail = unreachableHost
		w.sendAs("bad", 2, 100)
		w.upstream.set(func(f *fakeUpstream) {
			f.fail = nil
			f.mailReply = func(e envelope.Envelope) reply.Reply {
				if e.Client.String() == "10.0.0.2" {
					return reply.New(550, 7, 799, "Access denied")
				}
				return reply.Reply{}
			}
		})
		time.Sleep(30 * time.Second)
		if status := w.d.Status(); status.Held != "" || w.queued() != 0 {
			t.Errorf("got held %q: %s, %d queued; want neither", status.Held, status.Reason, w.queued())
		}
	})
}

// TestBreaker_HoldsOneAccountForAnUnknownBlock has a server that rejects MAIL of one
// account and accepts the others.
func TestBreaker_HoldsOneAccountForAnUnknownBlock(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		w.upstream.account = func(e envelope.Envelope) string {
			if e.Client.String() == "10.0.0.1" {
				return "good@contoso.com"
			}
			return "bad@contoso.com"
		}
		w.upstream.mailReply = func(e envelope.Envelope) reply.Reply {
			if e.Client.String() != "10.0.0.1" {
				return reply.New(550, 7, 799, "Access denied")
			}
			return reply.Reply{}
		}
		for n := range 3 {
			w.sendAs(fmt.Sprint("bad", n), 2+n%2, 100)
		}
		if r := w.sendAs("good", 1, 100); !strings.Contains(r.Text, "accepted by") {
			t.Errorf("another account: got reply %s", r)
		}
		status := w.d.Status()
		if status.Held != "" || len(status.Accounts) != 1 || status.Accounts[0].Held != "configuration" || w.queued() != 2 {
			t.Errorf("got %+v, %d queued", status, w.queued())
		}
		time.Sleep(day)
		w.upstream.set(func(f *fakeUpstream) { f.mailReply = nil })
		time.Sleep(time.Hour)
		if w.queued() != 0 {
			t.Errorf("after the end of the block: got %d queued, want 0", w.queued())
		}
	})
}
