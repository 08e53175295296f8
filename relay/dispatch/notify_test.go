package dispatch

import (
	"bytes"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sealpost/relay/envelope"
	"sealpost/relay/reply"
)

// deferThenReply first replies 4yz, so that the message is queued, and then r.
func deferThenReply(r reply.Reply) func(envelope.Envelope, envelope.Address) reply.Reply {
	var begun atomic.Bool
	return func(e envelope.Envelope, _ envelope.Address) reply.Reply {
		switch {
		case e.Report:
			return rcptOK
		case begun.CompareAndSwap(false, true):
			return greylisted
		}
		return r
	}
}

func TestBounce_ExplainsARefusalAfter250(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		w.upstream.set(func(f *fakeUpstream) {
			f.rcptReply = deferThenReply(reply.New(554, 2, 252, "SendAsDenied; printer@contoso.com not allowed to send as"))
		})
		w.send(1, 100)
		time.Sleep(5 * time.Minute)
		got := w.upstream.accepted()
		if len(got) != 1 || w.queued() != 0 {
			t.Fatalf("delivered %d, queued %d\n%s", len(got), w.queued(), w.log)
		}
		e, text := got[0].envelope, got[0].content
		if e.Sender != "" || !slices.Equal(e.Recipients, []envelope.Address{"printer@contoso.com"}) || !e.Report {
			t.Errorf("got a notification from %s to %v", e.Sender.Path(), e.Recipients)
		}
		for _, want := range []string{"Action: failed", "Status: 5.2.252", "may not send as this sender", "Add-RecipientPermission", "Subject: M1", "Remote-MTA: dns; mx"} {
			if !strings.Contains(strings.ReplaceAll(text, "=\r\n", ""), want) {
				t.Errorf("got no %q in the notification:\n%s", want, text)
			}
		}
		if strings.Contains(text, "xxxx") {
			t.Error("got the body in the notification, want only the header")
		}
	})
}

func TestReply_NamesTheCommandThatGrantsSendAs(t *testing.T) {
	denied := reply.New(554, 2, 252, "SendAsDenied; relay@contoso.com not allowed to send as")
	const line = "Add-RecipientPermission -Identity printer@contoso.com -Trustee relay@contoso.com -AccessRights SendAs"
	withHarness(t, nil, func(w *harness) {
		w.upstream.set(func(f *fakeUpstream) { f.rcptReply, f.trustee = alwaysReply(denied), "relay@contoso.com" })
		if r := w.send(1, 100); r.Code != 554 || !strings.HasSuffix(r.Text, line) {
			t.Errorf("got reply %s", r)
		}
		w.upstream.set(func(f *fakeUpstream) { f.rcptReply = deferThenReply(denied) })
		w.send(1, 100)
		time.Sleep(5 * time.Minute)
		got := w.upstream.accepted()
		if len(got) != 1 || !strings.Contains(strings.ReplaceAll(got[0].content, "=\r\n", ""), "    "+line+"\r\n") {
			t.Errorf("got bounces %+v", got)
		}
		if events := w.events("given up"); len(events) != 1 || !strings.HasSuffix(events[0]["words"].(string), line) {
			t.Errorf("got journal events %v", events)
		}
	})
}

func TestRefusal_IsReturnedToAWaitingClient(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		w.upstream.set(func(f *fakeUpstream) { f.rcptReply = alwaysReply(userUnknown) })
		if r := w.send(1, 100, "a@x.example", "b@x.example"); !strings.Contains(r.String(), "550 5.1.1 mx said: 550 5.1.1 User unknown") {
			t.Errorf("got reply %s", r)
		}
		time.Sleep(time.Hour)
		if len(w.upstream.offered()) != 1 || w.queued() != 0 {
			t.Errorf("got %d offers, %d queued, want 1 and 0", len(w.upstream.offered()), w.queued())
		}
	})
}

func TestBounce_IsNotSentForABounce(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		first := deferThenReply(userUnknown)
		w.upstream.rcptReply = func(e envelope.Envelope, to envelope.Address) reply.Reply {
			if e.Report {
				return userUnknown
			}
			return first(e, to)
		}
		w.send(1, 100)
		time.Sleep(day)
		if n := len(w.upstream.offered()); n != 3 || w.queued() != 0 {
			t.Errorf("got %d offers, %d queued, want 3 and 0", n, w.queued())
		}
		if len(w.events("no notification")) != 1 {
			t.Errorf("got journal %s", w.log)
		}
	})
}

func TestNotification_IsRedirectedToTheAlertAddress(t *testing.T) {
	const alert = envelope.Address("alerts@msp.example")
	for name, c := range map[string]struct {
		change func(*setup)
		report func(e envelope.Envelope) reply.Reply // the reply to a notification
		from   envelope.Address
	}{
		"null sender not relayed": {func(c *setup) { c.Notify.NullSender = false }, nil, "box@contoso.com"},
		"sender unreachable":      {nil, func(e envelope.Envelope) reply.Reply { return rejectPrinter(e, userUnknown) }, ""},
		"null sender refused":     {nil, rejectNullSender, "box@contoso.com"},
	} {
		t.Run(name, func(t *testing.T) {
			change := func(config *setup) {
				config.Notify.Alert = alert
				if c.change != nil {
					c.change(config)
				}
			}
			withHarness(t, change, func(w *harness) {
				first := deferThenReply(userUnknown)
				w.upstream.rcptReply = func(e envelope.Envelope, to envelope.Address) reply.Reply {
					if e.Report && c.report != nil {
						return c.report(e)
					}
					return first(e, to)
				}
				w.send(1, 100)
				time.Sleep(time.Hour)
				got := w.upstream.accepted()
				if len(got) != 1 || w.queued() != 0 {
					t.Fatalf("delivered %d, queued %d:\n%s", len(got), w.queued(), w.log)
				}
				if e := got[0].envelope; e.Sender != c.from || e.Recipients[0] != alert || !strings.Contains(got[0].content, "Action: failed") {
					t.Errorf("got notification from %s to %v:\n%s", e.Sender.Path(), e.Recipients, got[0].content)
				}
				if held := w.events("upstream held"); len(held) > 0 {
					t.Errorf("got %v, want the breaker not tripped", held)
				}
			})
		})
	}
}

func rejectPrinter(e envelope.Envelope, r reply.Reply) reply.Reply {
	if e.Recipients[0] == "printer@contoso.com" {
		return r
	}
	return rcptOK
}

func rejectNullSender(e envelope.Envelope) reply.Reply {
	if e.Sender == "" {
		return relayDenied
	}
	return rcptOK
}

func TestNotification_IsSentForDelayAndExpiry(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		w.upstream.rcptReply = func(e envelope.Envelope, _ envelope.Address) reply.Reply {
			if e.Report {
				return rcptOK
			}
			return greylisted
		}
		begun := time.Now()
		w.send(1, 100)
		time.Sleep(3*time.Hour + 50*time.Minute)
		if len(w.upstream.accepted()) != 0 {
			t.Errorf("got a notification of delay before four hours, want none")
		}
		time.Sleep(6 * day)
		got := w.upstream.accepted()
		if len(got) != 2 || w.queued() != 0 {
			t.Fatalf("got %d notifications, %d queued, want 2 and 0", len(got), w.queued())
		}
		if after := got[0].at.Sub(begun); after > 6*time.Hour || !strings.Contains(got[0].content, "Action: delayed") {
			t.Errorf("warned after %s:\n%s", after, got[0].content)
		}
		if after := got[1].at.Sub(begun); after < 5*day || after > 5*day+2*time.Hour || !strings.Contains(got[1].content, "Action: failed") || !strings.Contains(got[1].content, "greylisted") {
			t.Errorf("given up after %s:\n%s", after, got[1].content)
		}
	})
}

func TestDispatcher_TriesExpiredMailOnceAfterAnOutage(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		w.upstream.set(func(f *fakeUpstream) { f.fail = unreachableHost })
		w.send(1, 100)
		w.restart()
		w.send(1, 100)
		time.Sleep(6 * day)
		w.upstream.set(func(f *fakeUpstream) { f.fail = nil })
		time.Sleep(time.Hour)
		if got := ids(w.upstream.accepted()); len(w.upstream.accepted()) != 2 || !strings.Contains(got, "M1") || !strings.Contains(got, "M2") {
			t.Errorf("delivered: %s", got)
		}
	})
}

func TestDispatcher_ReportsDamagedMessageToItsSender(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		w.upstream.set(func(f *fakeUpstream) { f.fail = unreachableHost })
		w.send(1, 300_000)
		w.send(1, 100)
		// Damage the first message's content; this range holds little else.
		for off := int64(100_000); off < 200_000; off += 10_000 {
			w.flash.FlipBit(8 * off)
		}
		w.upstream.set(func(f *fakeUpstream) { f.fail = nil })
		time.Sleep(time.Hour)
		var notified, arrived bool
		for _, h := range w.upstream.accepted() {
			notified = notified || h.envelope.Report && strings.Contains(h.content, "damaged in the relay")
			arrived = arrived || h.envelope.ID == "M2"
			if h.envelope.ID == "M1" {
				t.Error("got the damaged message delivered, want a notification of failure")
			}
		}
		if !notified || !arrived || w.queued() != 0 {
			t.Errorf("got notified %v, other message delivered %v, %d queued; want true, true and 0\n%s", notified, arrived, w.queued(), w.log)
		}
	})
}

func TestBounce_IsDelayedWhileTheQueueIsFull(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		w.upstream.set(func(f *fakeUpstream) { f.fail = unreachableHost })
		for w.send(1, 700_000).Code == 250 {
		}
		for w.send(1, 1000).Code == 250 {
		}
		queued := w.queued()
		var refusals atomic.Int32
		refuseThree := func(e envelope.Envelope, _ envelope.Address) reply.Reply {
			if !e.Report && refusals.Add(1) <= 3 {
				return userUnknown
			}
			return rcptOK
		}
		w.upstream.set(func(f *fakeUpstream) { f.fail, f.rcptReply = nil, refuseThree })
		time.Sleep(day)
		reports := 0
		for _, h := range w.upstream.accepted() {
			if h.envelope.Report && bytes.Contains([]byte(h.content), []byte("Action: failed")) {
				reports++
			}
		}
		if len(w.upstream.accepted()) != queued || w.queued() != 0 || reports+len(w.events("delivered")) < queued {
			t.Errorf("got %d of %d delivered, %d notifications, %d queued; want all delivered and reported", len(w.upstream.accepted()), queued, reports, w.queued())
		}
	})
}
