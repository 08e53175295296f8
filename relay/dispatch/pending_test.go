package dispatch

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sealpost/relay/body"
	"sealpost/relay/envelope"
	"sealpost/relay/reply"
)

var errTPMAbsent = errors.New("TPM absent: check that it is fitted")

// sendAsync sends a message in the background and returns a channel with its
// reply.
func (w *harness) sendAsync(id string, client, size int) <-chan reply.Reply {
	replied := make(chan reply.Reply, 1)
	go func() { replied <- w.sendAs(id, client, size) }()
	synctest.Wait()
	return replied
}

// expectNoReply fails the test if the client gets a reply within d.
func (w *harness) expectNoReply(replied <-chan reply.Reply, d time.Duration) {
	w.t.Helper()
	select {
	case r := <-replied:
		w.t.Fatalf("got reply %s", r)
	case <-time.After(d):
	}
}

func TestQueuePending_DelaysAMessageThatMustBeQueued(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		w.restartWithoutQueue()
		w.upstream.set(func(f *fakeUpstream) { f.fail = unreachableHost })
		replied := w.sendAsync("M1", 1, 100)
		w.expectNoReply(replied, time.Minute)
		w.attachQueue()
		begun := time.Now()
		if r := <-replied; time.Since(begun) > commitDelay || !strings.Contains(r.String(), "250 2.0.0 M1 is queued and will be sent: cannot reach mx") {
			t.Errorf("got reply after %s: %s", time.Since(begun), r)
		}
		w.upstream.set(func(f *fakeUpstream) { f.fail = nil })
		time.Sleep(time.Hour)
		if len(w.upstream.accepted()) != 1 || w.queued() != 0 || w.d.config.Memory.Used() != 0 {
			t.Errorf("got %d delivered, %d queued, %d bytes in use; want 1, 0 and 0", len(w.upstream.accepted()), w.queued(), w.d.config.Memory.Used())
		}
	})
}

func TestQueuePending_DelaysAPartlyAcceptedMessage(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		w.restartWithoutQueue()
		w.upstream.set(func(f *fakeUpstream) {
			f.rcptReply = func(_ envelope.Envelope, to envelope.Address) reply.Reply {
				if to == "busy@x.example" {
					return greylisted
				}
				return rcptOK
			}
		})
		replied := make(chan reply.Reply, 1)
		go func() { replied <- w.sendAs("M1", 1, 100, "a@x.example", "busy@x.example") }()
		w.expectNoReply(replied, time.Minute)
		w.attachQueue()
		if r := <-replied; !strings.Contains(r.Text, "is queued") {
			t.Errorf("got reply %s", r)
		}
		time.Sleep(time.Hour)
		if got := w.upstream.accepted(); len(got) != 1 || len(got[0].recipients) != 1 || w.queued() != 1 {
			t.Errorf("delivered: %+v, %d queued", got, w.queued())
		}
	})
}

func TestSetQueueError_RepliesToWaitingClients(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		w.restartWithoutQueue()
		defer w.attachQueue()
		w.upstream.set(func(f *fakeUpstream) { f.fail = unreachableHost })
		replied := w.sendAsync("M1", 1, 100)
		w.expectNoReply(replied, time.Minute)
		w.d.SetQueueError(errTPMAbsent)
		begun := time.Now()
		if r := <-replied; time.Since(begun) > commitDelay || r.Code != 451 || !strings.Contains(r.Text, "cannot reach mx") || !strings.Contains(r.Text, errTPMAbsent.Error()) {
			t.Errorf("got reply after %s: %s", time.Since(begun), r)
		}
		if r := w.send(1, 100); time.Since(begun) > commitDelay || r.Code != 451 || !strings.Contains(r.Text, errTPMAbsent.Error()) {
			t.Errorf("second message: got reply after %s: %s", time.Since(begun), r)
		}
		w.d.SetQueuePending(errors.New("the spool is being created"))
		if s := w.d.Status(); s.Spool != "the spool is being created" {
			t.Errorf("got status %+v", s)
		}
		w.expectNoReply(w.sendAsync("M2", 1, 100), time.Minute)
	})
}

func TestQueuePending_TimesOut(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		w.restartWithoutQueue()
		defer w.attachQueue()
		w.upstream.set(func(f *fakeUpstream) { f.fail = unreachableHost })
		begun := time.Now()
		if r := w.send(1, 100); r.Code != 451 || time.Since(begun) != defaultSetup.Timeout {
			t.Errorf("got reply after %s: %s", time.Since(begun), r)
		}
	})
}

func TestStop_EndsTheWaitForTheQueue(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		w.restartWithoutQueue()
		defer w.attachQueue()
		w.upstream.set(func(f *fakeUpstream) { f.fail = unreachableHost })
		replied := w.sendAsync("M1", 1, 100)
		w.expectNoReply(replied, time.Minute)
		begun := time.Now()
		w.d.Stop()
		if r := <-replied; time.Since(begun) > commitDelay || r.Code != 451 {
			t.Errorf("got reply after %s: %s", time.Since(begun), r)
		}
	})
}

func TestQueuePending_BlocksNoOtherMessage(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		w.restartWithoutQueue()
		w.upstream.set(func(f *fakeUpstream) {
			f.fail = func(e envelope.Envelope) error {
				if strings.HasPrefix(e.ID, "W") {
					return unreachableHost(e)
				}
				return nil
			}
		})
		var waiting []<-chan reply.Reply
		for i := range 3 * defaultSetup.Limits.Connections {
			waiting = append(waiting, w.sendAsync(fmt.Sprint("W", i), 1, 100))
		}
		begun := time.Now()
		if r := w.send(2, 100); time.Since(begun) > commitDelay || !strings.Contains(r.Text, "accepted by mx") {
			t.Errorf("got reply after %s: %s", time.Since(begun), r)
		}
		w.attachQueue()
		for _, replied := range waiting {
			if r := <-replied; !strings.Contains(r.Text, "is queued") {
				t.Errorf("got reply %s", r)
			}
		}
	})
}

func TestMoveToQueue_WaitsForTheQueue(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		w.restartWithoutQueue()
		m := w.d.newMessage(envelope.Envelope{ID: "M1", Sender: "printer@contoso.com", Recipients: []envelope.Address{"a@x.example"}, Received: time.Now()}, w.d.config.Memory.NewBuffer())
		replied := make(chan reply.Reply, 1)
		go func() {
			defer m.release()
			replied <- w.d.moveToQueue(context.Background(), m, "the upstream is slow to reply")
		}()
		w.expectNoReply(replied, time.Minute)
		w.attachQueue()
		if r := <-replied; !strings.Contains(r.Text, "is queued") {
			t.Errorf("got reply %s", r)
		}
		time.Sleep(time.Minute)
		if len(w.upstream.accepted()) != 1 || w.queued() != 0 {
			t.Errorf("got %d delivered, %d queued, want 1 and 0", len(w.upstream.accepted()), w.queued())
		}
	})
}

func TestIncoming_WaitsForTheSpoolWhenMemoryIsUsedUp(t *testing.T) {
	const size = 5 << 20
	for name, c := range map[string]struct {
		end   func(w *harness)
		reply string
	}{
		"spool opens": {func(w *harness) { w.attachQueue() }, "250 2.0.0 M1 is queued"},
		"no TPM":      {func(w *harness) { w.d.SetQueueError(errTPMAbsent) }, "451 4.3.0 insufficient memory for this message, and it cannot be queued: TPM absent"},
		"relay stops": {func(w *harness) { w.d.Stop() }, "452 4.3.1 insufficient memory for this message"},
		"timeout":     {func(*harness) { time.Sleep(defaultSetup.Timeout) }, "452 4.3.1 insufficient memory for this message"},
	} {
		t.Run(name, func(t *testing.T) {
			withHarness(t, func(c *setup) { c.Memory = body.NewBudget(1 << 20) }, func(w *harness) {
				w.restartWithoutQueue()
				replied := w.sendAsync("M1", 1, size)
				w.expectNoReply(replied, time.Minute)
				c.end(w)
				begun := time.Now()
				if r := <-replied; time.Since(begun) > time.Second || !strings.HasPrefix(r.String(), c.reply) {
					t.Errorf("got reply after %s: %s", time.Since(begun), r)
				}
				if used := w.d.config.Memory.Used(); used != 0 {
					t.Errorf("got %d bytes in use, want 0", used)
				}
				if name != "spool opens" {
					w.attachQueue()
				}
			})
		})
	}
}
