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

var errAbsent = errors.New("TPM absent: check that it is fitted")

// begin sends a message in the background, and gives its answer.
func (w *world) begin(id string, client, size int) <-chan reply.Reply {
	answered := make(chan reply.Reply, 1)
	go func() { answered <- w.sendAs(id, client, size) }()
	synctest.Wait()
	return answered
}

// mustWait finds a client without an answer for that long.
func (w *world) mustWait(answered <-chan reply.Reply, d time.Duration) {
	w.t.Helper()
	select {
	case answer := <-answered:
		w.t.Fatalf("answered %s", answer)
	case <-time.After(d):
	}
}

func TestAMessageThatMustBeKeptWaitsForTheSpool(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.openWithoutQueue()
		w.far.be(func(f *farSide) { f.down = unreachableHost })
		answered := w.begin("M1", 1, 100)
		w.mustWait(answered, time.Minute)
		w.attach()
		begun := time.Now()
		if answer := <-answered; time.Since(begun) > aMoment || !strings.Contains(answer.String(), "250 2.0.0 M1 is safe in the spool and will be sent: cannot reach mx") {
			t.Errorf("answered after %s: %s", time.Since(begun), answer)
		}
		w.far.be(func(f *farSide) { f.down = nil })
		time.Sleep(time.Hour)
		if len(w.far.got()) != 1 || w.kept() != 0 || w.d.config.Memory.Used() != 0 {
			t.Errorf("%d arrived, %d kept, %d bytes are taken", len(w.far.got()), w.kept(), w.d.config.Memory.Used())
		}
	})
}

func TestARecipientToBeTriedAgainWaitsForTheSpool(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.openWithoutQueue()
		w.far.be(func(f *farSide) {
			f.answer = func(_ envelope.Envelope, to envelope.Address) reply.Reply {
				if to == "busy@x.example" {
					return grey
				}
				return ok
			}
		})
		answered := make(chan reply.Reply, 1)
		go func() { answered <- w.sendAs("M1", 1, 100, "a@x.example", "busy@x.example") }()
		w.mustWait(answered, time.Minute)
		w.attach()
		if answer := <-answered; !strings.Contains(answer.Text, "safe in the spool") {
			t.Errorf("answered %s", answer)
		}
		time.Sleep(time.Hour)
		if got := w.far.got(); len(got) != 1 || len(got[0].recipients) != 1 || w.kept() != 1 {
			t.Errorf("arrived: %+v, %d kept", got, w.kept())
		}
	})
}

func TestWhoWaitsForTheSpoolHearsWhyThereIsNone(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.openWithoutQueue()
		defer w.attach()
		w.far.be(func(f *farSide) { f.down = unreachableHost })
		answered := w.begin("M1", 1, 100)
		w.mustWait(answered, time.Minute)
		w.d.SetQueueError(errAbsent)
		begun := time.Now()
		if answer := <-answered; time.Since(begun) > aMoment || answer.Code != 451 || !strings.Contains(answer.Text, "cannot reach mx") || !strings.Contains(answer.Text, errAbsent.Error()) {
			t.Errorf("answered after %s: %s", time.Since(begun), answer)
		}
		if answer := w.send(1, 100); time.Since(begun) > aMoment || answer.Code != 451 || !strings.Contains(answer.Text, errAbsent.Error()) {
			t.Errorf("then answered after %s: %s", time.Since(begun), answer)
		}
		w.d.SetQueuePending(errors.New("the spool is being made"))
		if s := w.d.Status(); s.Spool != "the spool is being made" {
			t.Errorf("status %+v", s)
		}
		w.mustWait(w.begin("M2", 1, 100), time.Minute)
	})
}

func TestNobodyWaitsForTheSpoolLongerThanAnAttemptMayTake(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.openWithoutQueue()
		defer w.attach()
		w.far.be(func(f *farSide) { f.down = unreachableHost })
		begun := time.Now()
		if answer := w.send(1, 100); answer.Code != 451 || time.Since(begun) != usual.Timeout {
			t.Errorf("answered after %s: %s", time.Since(begun), answer)
		}
	})
}

func TestAStopEndsTheWaitForTheSpool(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.openWithoutQueue()
		defer w.attach()
		w.far.be(func(f *farSide) { f.down = unreachableHost })
		answered := w.begin("M1", 1, 100)
		w.mustWait(answered, time.Minute)
		begun := time.Now()
		w.d.Stop()
		if answer := <-answered; time.Since(begun) > aMoment || answer.Code != 451 {
			t.Errorf("answered after %s: %s", time.Since(begun), answer)
		}
	})
}

func TestThoseWhoWaitForTheSpoolKeepNobodyElseFromSending(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.openWithoutQueue()
		w.far.be(func(f *farSide) {
			f.down = func(e envelope.Envelope) error {
				if strings.HasPrefix(e.ID, "W") {
					return unreachableHost(e)
				}
				return nil
			}
		})
		var waiting []<-chan reply.Reply
		for i := range 3 * usual.Limits.Connections {
			waiting = append(waiting, w.begin(fmt.Sprint("W", i), 1, 100))
		}
		begun := time.Now()
		if answer := w.send(2, 100); time.Since(begun) > aMoment || !strings.Contains(answer.Text, "taken by mx") {
			t.Errorf("answered after %s: %s", time.Since(begun), answer)
		}
		w.attach()
		for _, answered := range waiting {
			if answer := <-answered; !strings.Contains(answer.Text, "safe in the spool") {
				t.Errorf("answered %s", answer)
			}
		}
	})
}

func TestAMessageThatIsSetAsideWaitsForTheSpool(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.openWithoutQueue()
		m := w.d.newMessage(envelope.Envelope{ID: "M1", Sender: "printer@contoso.com", Recipients: []envelope.Address{"a@x.example"}, Received: time.Now()}, w.d.config.Memory.NewBuffer())
		answered := make(chan reply.Reply, 1)
		go func() {
			defer m.release()
			answered <- w.d.setAside(context.Background(), m, "the upstream is slow to answer")
		}()
		w.mustWait(answered, time.Minute)
		w.attach()
		if answer := <-answered; !strings.Contains(answer.Text, "safe in the spool") {
			t.Errorf("answered %s", answer)
		}
		time.Sleep(time.Minute)
		if len(w.far.got()) != 1 || w.kept() != 0 {
			t.Errorf("%d arrived, %d kept", len(w.far.got()), w.kept())
		}
	})
}

func TestContentThatDoesNotFitIntoMemoryWaitsForTheSpool(t *testing.T) {
	const size = 5 << 20
	for name, c := range map[string]struct {
		end    func(w *world)
		answer string
	}{
		"that opens":                             {func(w *world) { w.attach() }, "250 2.0.0 M1 is safe in the spool"},
		"that cannot be had":                     {func(w *world) { w.d.SetQueueError(errAbsent) }, "451 4.3.0 no memory for this message now, and it cannot be kept: TPM absent"},
		"until the relay ends":                   {func(w *world) { w.d.Stop() }, "452 4.3.1 no memory for this message now"},
		"for no longer than an attempt may take": {func(*world) { time.Sleep(usual.Timeout) }, "452 4.3.1 no memory for this message now"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(c *setup) { c.Memory = body.NewBudget(1 << 20) }, func(w *world) {
				w.openWithoutQueue()
				answered := w.begin("M1", 1, size)
				w.mustWait(answered, time.Minute)
				c.end(w)
				begun := time.Now()
				if answer := <-answered; time.Since(begun) > time.Second || !strings.HasPrefix(answer.String(), c.answer) {
					t.Errorf("answered after %s: %s", time.Since(begun), answer)
				}
				if used := w.d.config.Memory.Used(); used != 0 {
					t.Errorf("%d bytes are taken", used)
				}
				if name != "that opens" {
					w.attach()
				}
			})
		})
	}
}
