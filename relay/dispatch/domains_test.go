package dispatch

import (
	"testing"
	"time"

	"sealpost/relay/envelope"
	"sealpost/relay/upstream"
)

func TestDomains_OneThatIsUnreachableDelaysNoOther(t *testing.T) {
	const dead, messages = "dead.example", 30
	withHarness(t, func(s *setup) { s.Domains = true }, func(w *harness) {
		w.upstream.set(func(f *fakeUpstream) {
			f.account = func(e envelope.Envelope) string { return e.Recipients[0].Domain() }
			f.fail = func(e envelope.Envelope) error {
				if e.Recipients[0].Domain() != dead {
					return nil
				}
				return &upstream.Unavailable{Reason: "cannot reach " + dead, Account: true}
			}
		})
		// count returns the notifications and the other messages that were accepted.
		count := func() (notifications, others int) {
			for _, h := range w.upstream.accepted() {
				if h.envelope.Report {
					notifications++
				} else {
					others++
				}
			}
			return notifications, others
		}
		for range messages {
			w.send(1, 100, "x@"+dead)
			w.send(1, 100, "x@live.example")
		}
		time.Sleep(time.Minute)
		if notifications, others := count(); others != messages || notifications != 0 || w.queued() != messages {
			t.Errorf("got %d delivered, %d queued, %d notifications, want %d, %d and none", others, w.queued(), notifications, messages, messages)
		}
		time.Sleep(defaultSetup.Retry.Warning + time.Hour)
		if notifications, _ := count(); notifications != messages {
			t.Errorf("got %d warnings, want one for each of %d messages", notifications, messages)
		}
		time.Sleep(defaultSetup.Retry.Age)
		if notifications, _ := count(); notifications != 2*messages || w.queued() != 0 {
			t.Errorf("got %d notifications, %d queued, want %d and none", notifications, w.queued(), 2*messages)
		}
		// No more than by the delays of each message, an hour at the longest.
		if attempts, hours := len(w.upstream.offered()), int(defaultSetup.Retry.Age/time.Hour); attempts > messages*(hours+10) {
			t.Errorf("got %d attempts in %d hours", attempts, hours)
		}
	})
}
