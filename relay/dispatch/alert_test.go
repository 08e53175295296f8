package dispatch

import (
	"context"
	"net/mail"
	"strings"
	"testing"
	"time"

	"sealpost/relay/envelope"
)

func withAlertAddress(s *setup) { s.Notify.Alert, s.Notify.Site = "alerts@msp.example", "Leeds" }

func TestAlert_IsQueuedAndSent(t *testing.T) {
	withHarness(t, withAlertAddress, func(w *harness) {
		w.d.Alert("a device is silent", "192.0.2.20 has sent nothing for 26 hours.")
		time.Sleep(time.Minute)
		got := w.upstream.accepted()
		if len(got) != 1 || w.queued() != 0 {
			t.Fatalf("delivered %d, queued %d:\n%s", len(got), w.queued(), w.log)
		}
		if e := got[0].envelope; e.Sender != "box@contoso.com" || len(e.Recipients) != 1 || e.Recipients[0] != "alerts@msp.example" || !e.Report {
			t.Errorf("got envelope %+v", e)
		}
		m, err := mail.ReadMessage(strings.NewReader(got[0].content))
		if err != nil || m.Header.Get("Subject") != "[Sealpost Leeds] a device is silent" || m.Header.Get("From") != "<mailer-daemon@contoso.com>" {
			t.Errorf("got %v, %v", m, err)
		}
		if events := w.events("notified"); len(events) != 1 || events[0]["action"] != "alert" || events[0]["to"] != "<alerts@msp.example>" {
			t.Errorf("got events %v", events)
		}
	})
}

func TestAlert_IsRetriedAndNeverReported(t *testing.T) {
	withHarness(t, withAlertAddress, func(w *harness) {
		w.upstream.set(func(f *fakeUpstream) { f.fail = unreachableHost })
		w.d.Alert("a device is silent", "text")
		time.Sleep(10 * time.Minute)
		if w.queued() != 1 {
			t.Fatalf("got %d queued, want 1:\n%s", w.queued(), w.log)
		}
		w.upstream.set(func(f *fakeUpstream) { f.fail, f.rcptReply = nil, alwaysReply(userUnknown) })
		time.Sleep(2 * time.Hour)
		if accepted := w.upstream.accepted(); len(accepted) != 0 || w.queued() != 0 {
			t.Errorf("got %d delivered and %d queued, want no notification about a rejected alert:\n%s", len(accepted), w.queued(), w.log)
		}
	})
}

func TestAlert_IsOnlyJournaledWithoutAnAddressOrAQueue(t *testing.T) {
	for name, c := range map[string]struct {
		alert envelope.Address
		event string
	}{
		"no address": {"", "no notification"},
		"no queue":   {"alerts@msp.example", "spool"},
	} {
		withHarness(t, func(s *setup) { s.Notify.Alert = c.alert }, func(w *harness) {
			original := w.d
			w.d = New(w.setup.Config, []Route{w.setup.Route}, original.journal)
			w.d.Alert("a device is silent", "text")
			if n := len(w.events(c.event)); n != 1 || len(w.events("notified")) > 0 {
				t.Errorf("%s: got %d events %q:\n%s", name, n, c.event, w.log)
			}
			if err := w.d.Close(context.Background()); err != nil {
				t.Error(err)
			}
			w.d = original
		})
	}
}
