package dispatch

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"sealpost/hal/simflash"
	"sealpost/relay/spool"
)

func TestDispatcher_QueuesNothingAfterAFailedWrite(t *testing.T) {
	for _, outcome := range []simflash.Outcome{simflash.Failed, simflash.Short, simflash.NoSpace} {
		withHarness(t, nil, func(w *harness) {
			w.upstream.set(func(f *fakeUpstream) { f.fail = unreachableHost })
			if r := w.send(1, 100); r.Code != 250 {
				t.Fatalf("got reply %s", r)
			}
			done := w.flash.Counts()
			for call := range 20 {
				w.flash.At(done.Writes+done.Flushes+1+call, outcome)
			}
			for range 3 {
				if r := w.send(1, 100); r.Code != 451 || !strings.Contains(r.Text, "the spool's flash failed and nothing more is written to it: restart the box") {
					t.Errorf("got reply %s", r)
				}
			}
			if err := w.d.Failed(); !errors.Is(err, spool.ErrPoisoned) {
				t.Errorf("Failed: got %v, want ErrPoisoned", err)
			}
			w.upstream.set(func(f *fakeUpstream) { f.fail = nil })
			time.Sleep(time.Hour)
			if r := w.send(1, 100); !strings.Contains(r.Text, "accepted by mx") {
				t.Errorf("after the upstream's recovery: got reply %s", r)
			}
			w.poisoned = true
		})
	}
}

func TestDispatcher_RemovesUnreadableMessages(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		w.upstream.set(func(f *fakeUpstream) { f.fail = unreachableHost })
		w.send(1, 100)
		w.send(2, 100)
		w.flash.FailReads(0, w.flash.Size())
		w.upstream.set(func(f *fakeUpstream) { f.fail = nil })
		time.Sleep(time.Hour)
		if r := w.send(1, 100); !strings.Contains(r.Text, "accepted by mx") {
			t.Errorf("got reply %s", r)
		}
		if n := len(w.events("damaged")); n != 2 || w.queued() != 0 {
			t.Errorf("got %d damaged events, %d queued, want 2 and 0", n, w.queued())
		}
	})
}

func TestDispatcher_DefersMailForASiteFaultWithoutAQueue(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		original := w.d
		w.d = New(w.setup.Config, []Route{w.setup.Route}, original.journal)
		w.upstream.set(func(f *fakeUpstream) { f.rcptReply = alwaysReply(relayDenied) })
		if r := w.send(1, 100); !strings.HasPrefix(r.String(), "451 4.7.64 mx said: 550 5.7.64 Tenant") || !strings.Contains(r.Text, "no connector of the tenant matches") {
			t.Errorf("got reply %s", r)
		}
		if err := w.d.Close(context.Background()); err != nil {
			t.Error(err)
		}
		w.d = original
	})
}
