package dispatch

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sealpost/relay/body"
	"sealpost/relay/envelope"
	"sealpost/relay/reply"
)

func TestDispatcher_UsesNoFlashWhileUpstreamAcceptsMail(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		before := w.flash.Counts()
		for range 1000 {
			if r := w.send(1, 4000); !strings.Contains(r.String(), "250 2.0.0 accepted by mx: 250 2.6.0 Queued") {
				t.Fatalf("got reply %s", r)
			}
		}
		time.Sleep(time.Minute)
		if after := w.flash.Counts(); after != before {
			t.Errorf("got flash counts %+v before and %+v after, want no change", before, after)
		}
	})
}

func TestClientWait_EndsWhileTheAttemptContinues(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		w.upstream.set(func(f *fakeUpstream) { f.delay = func(envelope.Envelope) time.Duration { return 20 * time.Second } })
		begun := time.Now()
		r := w.send(1, 100)
		if waited := time.Since(begun).Round(time.Second); waited != 5*time.Second || !strings.Contains(r.String(), "250 2.0.0 M1 is queued") {
			t.Errorf("got reply after %s: %s", waited, r)
		}
		if w.queued() != 1 {
			t.Errorf("got %d queued, want 1", w.queued())
		}
		q, _ := w.d.Queue()
		for item := range q.Items() {
			if since, sending := w.d.Sending(item); !sending || time.Since(since).Round(time.Second) != 5*time.Second {
				t.Errorf("%s: got sending %t since %s, want it for 5 s", item.ID, sending, since)
			}
		}
		time.Sleep(time.Minute)
		if len(w.upstream.offered()) != 1 || len(w.upstream.accepted()) != 1 || w.queued() != 0 {
			t.Errorf("got %d offers, %d deliveries, %d queued, want 1, 1 and 0", len(w.upstream.offered()), len(w.upstream.accepted()), w.queued())
		}
	})
}

func TestClientWait_IsExtendedForALargeBody(t *testing.T) {
	for _, c := range []struct {
		name   string
		size   int
		rate   int64
		waited time.Duration
		queued bool
	}{
		{"30 MB at 2 MB a second", 30e6, 2e6, 16 * time.Second, false},
		{"5 MB at 100 kB a second", 5e6, 1e5, 30 * time.Second, true},
		{"small body", 4000, 500, 5 * time.Second, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			withHarness(t, nil, func(w *harness) {
				w.upstream.set(func(f *fakeUpstream) { f.rate = c.rate })
				before := w.flash.Counts()
				begun := time.Now()
				r := w.send(1, c.size)
				if waited := time.Since(begun); (waited - c.waited).Abs() > 2*time.Second {
					t.Errorf("got reply after %s: %s", waited, r)
				}
				if queued := strings.Contains(r.Text, "is queued"); queued != c.queued || !r.Positive() {
					t.Errorf("got reply %s", r)
				}
				if touched := w.flash.Counts() != before; touched != c.queued {
					t.Errorf("flash used: got %v, want %v", touched, c.queued)
				}
			})
		})
	}
}

// commitDelay is how long a group commit may wait for other commits.
const commitDelay = 10 * time.Millisecond

func TestClientWait_IsSkippedWhileUpstreamIsDown(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		w.upstream.set(func(f *fakeUpstream) { f.fail = unreachableHost })
		for range 20 {
			begun := time.Now()
			r := w.send(1, 100)
			if waited := time.Since(begun); waited > commitDelay || !strings.Contains(r.Text, "will be sent: cannot reach mx") {
				t.Fatalf("got reply after %s: %s", waited, r)
			}
		}
		if n := len(w.upstream.offered()); n != 1 {
			t.Errorf("got %d attempts to the dead host, want 1", n)
		}
		if text := w.log.String(); strings.Contains(w.send(1, 1).Text, "secret") || !strings.Contains(text, "cannot reach mx") {
			t.Errorf("got journal %s", text)
		}
	})
}

func TestClientWait_IsSkippedWhileEveryAttemptIsSlow(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		w.upstream.set(func(f *fakeUpstream) { f.delay = func(envelope.Envelope) time.Duration { return 5 * time.Minute } })
		for range 4 {
			go w.sendAs("hanging", 1, 100)
		}
		time.Sleep(6 * time.Second)
		begun := time.Now()
		if r := w.send(2, 100); time.Since(begun) > commitDelay || !strings.Contains(r.Text, "slow to reply") {
			t.Errorf("got reply after %s: %s", time.Since(begun), r)
		}
	})
}

func TestIncoming_StreamsALargeMessageIntoTheSpool(t *testing.T) {
	withHarness(t, func(c *setup) { c.Memory = body.NewBudget(1 << 20) }, func(w *harness) {
		r := w.send(1, 5<<20)
		if !strings.Contains(r.String(), "250 2.0.0 M1 is queued") {
			t.Fatalf("got reply %s", r)
		}
		time.Sleep(time.Second)
		got := w.upstream.accepted()
		if len(got) != 1 || len(got[0].content) != 5<<20+len("Subject: M1\r\n\r\n") || w.queued() != 0 {
			t.Errorf("delivered %d, queued %d, want 1 and 0", len(got), w.queued())
		}
		if used := w.d.config.Memory.Used(); used != 0 {
			t.Errorf("got %d bytes of memory in use, want 0", used)
		}
	})
}

func TestDispatcher_ReleasesMemory(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		for i, behave := range []func(){
			func() {},
			func() {
				w.upstream.set(func(f *fakeUpstream) { f.delay = func(envelope.Envelope) time.Duration { return time.Minute } })
			},
			func() { w.upstream.set(func(f *fakeUpstream) { f.delay, f.fail = nil, unreachableHost }) },
			func() {
				w.upstream.set(func(f *fakeUpstream) { f.fail = nil })
				w.upstream.set(func(f *fakeUpstream) {
					f.rcptReply = func(envelope.Envelope, envelope.Address) reply.Reply { return userUnknown }
				})
			},
		} {
			behave()
			for range 5 {
				go w.sendAs(fmt.Sprint("round ", i), i, 100_000)
			}
			time.Sleep(2 * time.Hour)
			if used := w.d.config.Memory.Used(); used != 0 {
				t.Errorf("got %d bytes in use after round %d, want 0", used, i)
			}
		}
	})
}

func TestDispatcher_DefersMailWhenTheSpoolIsFull(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		w.upstream.set(func(f *fakeUpstream) { f.fail = unreachableHost })
		full := 0
		for range 30 {
			r := w.send(1, 1<<20)
			if r.Code == 452 {
				full++
				if !strings.Contains(r.String(), "452 4.3.1 the spool is full") {
					t.Fatalf("got reply %s", r)
				}
			}
		}
		if full == 0 || w.queued() == 0 {
			t.Fatalf("got %d refused, %d queued, want both above 0", full, w.queued())
		}
		queued := w.queued()
		w.upstream.set(func(f *fakeUpstream) { f.fail = nil })
		time.Sleep(time.Hour)
		if len(w.upstream.accepted()) != queued || w.queued() != 0 {
			t.Errorf("got %d of %d delivered, %d queued, want all", len(w.upstream.accepted()), queued, w.queued())
		}
		if r := w.send(1, 1<<20); !strings.Contains(r.Text, "accepted by mx") {
			t.Errorf("got reply %s", r)
		}
	})
}

func TestStop_QueuesMessagesOfWaitingClients(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		w.upstream.set(func(f *fakeUpstream) { f.delay = func(envelope.Envelope) time.Duration { return time.Hour } })
		replies := make(chan reply.Reply, 10)
		for i := range 10 {
			go func() { replies <- w.sendAs(fmt.Sprint("W", i), i, 100) }()
		}
		time.Sleep(time.Second)
		w.d.Stop()
		synctest.Wait()
		for range 10 {
			if r := <-replies; !strings.Contains(r.Text, "is queued") {
				t.Errorf("got reply %s", r)
			}
		}
		w.upstream.set(func(f *fakeUpstream) { f.delay = nil })
		w.restart()
		time.Sleep(time.Minute)
		if len(w.upstream.accepted()) != 10 || w.queued() != 0 {
			t.Errorf("got %d delivered, %d queued, want 10 and 0", len(w.upstream.accepted()), w.queued())
		}
	})
}
