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

// openWithoutQueue starts the dispatcher anew with no spool to keep mail in.
func (w *world) openWithoutQueue() {
	w.t.Helper()
	w.close()
	w.start()
}

// attach gives it its spool after all.
func (w *world) attach() {
	w.t.Helper()
	opened, _, err := spool.Open(hal.Flash(w.flash), flashKey, spool.Limits{})
	if err != nil {
		w.t.Fatal(err)
	}
	w.spool = opened
	w.d.SetQueue(queue.New(opened))
}

// accept gives the message straight to the dispatcher and waits for the answer
// until ctx ends.
func (w *world) accept(ctx context.Context, id string, size int) reply.Reply {
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

func TestAnAttemptThatEndsAfterItsClientWasToldOffChangesNothing(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.openWithoutQueue()
		defer w.attach()
		w.far.be(func(f *farSide) { f.delay = func(envelope.Envelope) time.Duration { return 20 * time.Second } })
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if answer := w.accept(ctx, "M1", 100); !answer.Transient() {
			t.Errorf("answered %s", answer)
		}
		time.Sleep(time.Minute)
		if len(w.far.got()) != 1 || w.d.config.Memory.Used() != 0 {
			t.Errorf("%d arrived, %d bytes are taken", len(w.far.got()), w.d.config.Memory.Used())
		}
	})
}

func TestASpoolThatOpensLateKeepsWhatClientsWaitFor(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.openWithoutQueue()
		w.far.be(func(f *farSide) { f.delay = func(envelope.Envelope) time.Duration { return 3 * time.Minute } })
		answers := make(chan reply.Reply, 6)
		for i := range 6 {
			go func() { answers <- w.sendAs(fmt.Sprint("W", i), i, 100) }()
		}
		time.Sleep(time.Minute)
		if len(answers) > 0 {
			t.Errorf("answered %s", <-answers)
		}
		w.attach()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if len(answers) != 6 {
			t.Errorf("%d of 6 clients have their answer", len(answers))
		}
		time.Sleep(time.Hour)
		for range len(answers) {
			if answer := <-answers; !strings.Contains(answer.Text, "safe in the spool") {
				t.Errorf("answered %s", answer)
			}
		}
		if len(w.far.got()) != 6 || w.kept() != 0 {
			t.Errorf("%d arrived, %d kept", len(w.far.got()), w.kept())
		}
	})
}

func TestAMessageIsEitherKeptOrDeclined(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		m := w.d.newMessage(envelope.Envelope{ID: "M1", Recipients: []envelope.Address{"a@x.example"}, Received: time.Now()}, w.d.config.Memory.NewBuffer())
		if err := m.keep(w.d.queue); err != nil {
			t.Fatal(err)
		}
		if m.finish(reply.New(451, 3, 0, "no room")) {
			t.Error("a kept message was declined")
		}
		_ = w.d.queue.Remove(m.ticket.ID)
	})
}
