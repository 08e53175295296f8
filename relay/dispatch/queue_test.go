package dispatch

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sealpost/hal"
	"sealpost/relay/envelope"
	"sealpost/relay/queue"
	"sealpost/relay/reply"
	"sealpost/relay/spool"
)

// restartWithoutQueue restarts the dispatcher without a queue.
func (w *harness) restartWithoutQueue() {
	w.t.Helper()
	w.close()
	w.start()
}

// attachQueue opens the spool and sets the dispatcher's queue.
func (w *harness) attachQueue() {
	w.t.Helper()
	opened, _, err := spool.Open(hal.Flash(w.flash), flashKey, spool.Limits{})
	if err != nil {
		w.t.Fatal(err)
	}
	w.spool = opened
	w.d.SetQueue(queue.New(opened))
}

// accept passes a message directly to the dispatcher and waits for the reply
// until ctx ends.
func (w *harness) accept(ctx context.Context, id string, size int) reply.Reply {
	e := envelope.Envelope{ID: id, Client: netip.MustParseAddr("10.0.0.9"), Sender: "printer@contoso.com",
		Recipients: []envelope.Address{"a@x.example"}, Received: time.Now()}
	in := w.d.Begin(e, int64(size))
	n, err := in.Write([]byte("Subject: " + id + "\r\n\r\n" + strings.Repeat("x", size)))
	if err != nil {
		w.t.Error(err)
	}
	e.Size = int64(n)
	return in.Accept(ctx, e)
}

func TestAttempt_EndsAfterItsClientWasDeferred(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		w.restartWithoutQueue()
		defer w.attachQueue()
		w.upstream.set(func(f *fakeUpstream) { f.delay = func(envelope.Envelope) time.Duration { return 20 * time.Second } })
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if r := w.accept(ctx, "M1", 100); !r.Transient() {
			t.Errorf("got reply %s", r)
		}
		time.Sleep(time.Minute)
		if len(w.upstream.accepted()) != 1 || w.d.config.Memory.Used() != 0 {
			t.Errorf("got %d delivered, %d bytes in use, want 1 and 0", len(w.upstream.accepted()), w.d.config.Memory.Used())
		}
	})
}

func TestSetQueue_QueuesMessagesOfWaitingClients(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		w.restartWithoutQueue()
		w.upstream.set(func(f *fakeUpstream) { f.delay = func(envelope.Envelope) time.Duration { return 3 * time.Minute } })
		replies := make(chan reply.Reply, 6)
		for i := range 6 {
			go func() { replies <- w.sendAs(fmt.Sprint("W", i), i, 100) }()
		}
		time.Sleep(time.Minute)
		if len(replies) > 0 {
			t.Errorf("got reply %s", <-replies)
		}
		w.attachQueue()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if len(replies) != 6 {
			t.Errorf("got %d replies, want 6", len(replies))
		}
		time.Sleep(time.Hour)
		for range len(replies) {
			if r := <-replies; !strings.Contains(r.Text, "is queued") {
				t.Errorf("got reply %s", r)
			}
		}
		if len(w.upstream.accepted()) != 6 || w.queued() != 0 {
			t.Errorf("got %d delivered, %d queued, want 6 and 0", len(w.upstream.accepted()), w.queued())
		}
	})
}

func TestMessage_IsNotFinishedOnceQueued(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		m := w.d.newMessage(envelope.Envelope{ID: "M1", Recipients: []envelope.Address{"a@x.example"}, Received: time.Now()}, w.d.config.Memory.NewBuffer())
		if err := m.enqueue(w.d.queue); err != nil {
			t.Fatal(err)
		}
		if m.finish(reply.New(451, 3, 0, "no room")) {
			t.Error("finish: got true for a queued message, want false")
		}
		_ = w.d.queue.Remove(m.ticket.ID)
	})
}
