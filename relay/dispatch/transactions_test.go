package dispatch

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sealpost/hal/simflash"
	"sealpost/relay/envelope"
	"sealpost/relay/journal"
	"sealpost/relay/queue"
	"sealpost/relay/reply"
	"sealpost/relay/spool"
	"sealpost/relay/upstream"
)

// deliverByDomain makes one transaction for each domain of recipients.
func (f *fakeUpstream) deliverByDomain(ctx context.Context, b behaviour, e envelope.Envelope, content envelope.Content, tx upstream.Transactions) (upstream.Result, error) {
	result := upstream.Result{Connection: journal.Connection{Host: "mx"}, Mail: senderOK,
		Replies: make([]reply.Reply, len(e.Recipients)), Unanswered: make([]bool, len(e.Recipients))}
	var domains []string
	for _, to := range e.Recipients {
		if !slices.Contains(domains, to.Domain()) {
			domains = append(domains, to.Domain())
		}
	}
	for n, domain := range domains {
		var indexes []int
		for i, to := range e.Recipients {
			if to.Domain() == domain {
				indexes, result.Replies[i] = append(indexes, i), b.rcpt(e, to)
			}
		}
		if !slices.ContainsFunc(indexes, func(i int) bool { return result.Replies[i].Positive() }) {
			if n < len(domains)-1 {
				tx.Settled(slices.Clone(result.Replies))
			}
			continue
		}
		if !tx.ShouldSend(slices.Clone(result.Replies)) {
			return result, nil
		}
		text, err := b.read(ctx, content)
		if err != nil {
			return result, err
		}
		taken, unanswered := true, false
		if b.unanswered != nil {
			taken, unanswered = b.unanswered(e, domain)
		}
		done := transaction{at: time.Now(), envelope: e, content: text}
		for _, i := range indexes {
			if !result.Replies[i].Positive() {
				continue
			}
			done.recipients = append(done.recipients, e.Recipients[i])
			result.Replies[i], result.Unanswered[i] = queuedOK, unanswered
			if unanswered {
				result.Replies[i] = reply.Reply{}
			}
		}
		if taken {
			f.mu.Lock()
			f.acceptedMail = append(f.acceptedMail, done)
			f.mu.Unlock()
			result.Accepted = true
		}
		if n < len(domains)-1 {
			tx.Settled(slices.Clone(result.Replies))
		}
	}
	return result, nil
}

// deliveriesTo returns how many times each recipient got the message.
func (f *fakeUpstream) deliveriesTo() map[envelope.Address]int {
	counts := map[envelope.Address]int{}
	for _, each := range f.accepted() {
		for _, to := range each.recipients {
			counts[to]++
		}
	}
	return counts
}

func TestTransactions_QueueALiveMessageBeforeTheFirstContent(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		queuedBefore := 0
		w.upstream.byDomain = true
		w.upstream.unanswered = func(envelope.Envelope, string) (bool, bool) {
			queuedBefore = max(queuedBefore, w.queued())
			return true, false
		}
		r := w.send(1, 100, "a@x.example", "b@y.example", "c@x.example")
		time.Sleep(time.Minute)
		if r.Code != 250 || queuedBefore != 1 || w.queued() != 0 {
			t.Errorf("got %s, %d queued before the content, %d afterwards", r, queuedBefore, w.queued())
		}
		for to, n := range w.upstream.deliveriesTo() {
			if n != 1 {
				t.Errorf("%s: got %d deliveries", to, n)
			}
		}
	})
}

func TestTransactions_SettleNothingBeforeTheMessageIsQueued(t *testing.T) {
	for _, withQueue := range []bool{true, false} {
		withHarness(t, nil, func(w *harness) {
			w.upstream.byDomain = true
			w.upstream.rcptReply = func(_ envelope.Envelope, to envelope.Address) reply.Reply {
				if to.Domain() == "x.example" {
					return userUnknown
				}
				return rcptOK
			}
			original := w.d
			if !withQueue {
				w.start()
				w.d.SetQueueError(errNoSpool)
			}
			r := w.send(1, 100, "a@x.example", "b@y.example")
			time.Sleep(time.Hour)
			got := w.upstream.deliveriesTo()
			if want := map[bool]int{true: 250, false: 550}[withQueue]; r.Code != want || got["a@x.example"] != 0 || withQueue != (got["b@y.example"] == 1) {
				t.Errorf("with a queue %t: got reply %s, deliveries %v", withQueue, r, got)
			}
			if w.d != original {
				if err := w.d.Close(context.Background()); err != nil {
					t.Error(err)
				}
				w.d = original
			}
		})
	}
}

func TestTransactions_AreDurableBeforeTheNextOneBegins(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		var cuts []*simflash.Flash
		w.upstream.byDomain = true
		w.upstream.unanswered = func(_ envelope.Envelope, domain string) (bool, bool) {
			if domain == "y.example" {
				cuts = slices.Collect(w.flash.PowerCut(8))
			}
			return true, false
		}
		w.poisoned = true
		if r := w.send(1, 100, "a@x.example", "b@y.example"); r.Code != 250 || len(cuts) == 0 {
			t.Fatalf("got %s, %d power cuts", r, len(cuts))
		}
		for _, cut := range cuts {
			recovered, _, err := spool.Open(cut, flashKey, spool.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			q := queue.New(recovered)
			for ticket := range q.Tickets() {
				if _, progress, err := q.Load(ticket.ID); err != nil || !progress.Settled.Has(0) || progress.Settled.Has(1) {
					t.Errorf("after a power cut in the second transaction: got %+v, %v", progress, err)
				}
			}
			if n := recovered.Stat().Messages; n != 1 {
				t.Errorf("got %d messages after a power cut, want 1", n)
			}
			if err := recovered.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestTransactions_RetryOnlyWhatWasNotAnswered(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		w.upstream.byDomain = true
		first := true
		w.upstream.unanswered = func(_ envelope.Envelope, domain string) (bool, bool) {
			lost := first && domain == "y.example"
			first = first && !lost
			return !lost, lost
		}
		w.upstream.rcptReply = func(_ envelope.Envelope, to envelope.Address) reply.Reply {
			if to == "nobody@x.example" {
				return userUnknown
			}
			return rcptOK
		}
		w.send(1, 100, "a@x.example", "b@y.example", "nobody@x.example", "c@z.example")
		time.Sleep(time.Hour)
		got := w.upstream.deliveriesTo()
		if got["a@x.example"] != 1 || got["b@y.example"] != 1 || got["c@z.example"] != 1 || len(w.events("given up")) != 1 {
			t.Errorf("got %v, %d given up", got, len(w.events("given up")))
		}
		for _, e := range w.events("recipient") {
			if strings.HasPrefix(fmt.Sprint(e["reply"]), "0") {
				t.Errorf("a reply that never came is in the journal: %v", e)
			}
		}
	})
}
