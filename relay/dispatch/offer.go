package dispatch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sealpost/relay/dispatch/throttle"
	"sealpost/relay/envelope"
	"sealpost/relay/reply"
)

// offer sends a message while its client waits for the answer, and keeps it in
// the queue where that takes too long or waiting is of no use.
func (d *Dispatcher) offer(ctx context.Context, m *message) reply.Reply {
	defer m.release()
	d.mu.Lock()
	reason := d.whyKeep(m.route, m.account, time.Now())
	// Without a queue waiting is all there is to do.
	wait := reason == "" || d.queue == nil && !d.stopping
	if wait {
		d.live.Push(m.flow(), m)
	}
	d.mu.Unlock()
	if !wait {
		return d.setAside(ctx, m, reason)
	}
	d.kick()
	return d.await(ctx, m)
}

// whyKeep says why the upstream will not take a message of that account while
// its client waits; it is empty where it may. The caller holds mu.
func (d *Dispatcher) whyKeep(r *Route, account string, now time.Time) string {
	if d.stopping {
		return errStopping.Error()
	}
	own := r.throttle.Account(account, now)
	for _, b := range []*throttle.Breaker{r.breaker, own.Breaker} {
		if b.Held() && (!b.Allows(now) || d.backlog.Due() > 0 || d.live.Len() > 0) {
			return b.Hold().Reason
		}
	}
	switch {
	case own.LimitedFor(now) > d.config.ClientWait:
		return "as many messages were sent as may be for now"
	case len(d.active) >= r.throttle.Slots(now) && d.allSlow(now):
		return "the upstream is slow to answer"
	}
	return ""
}

// allSlow reports whether every attempt under way takes longer than a client
// would wait. The caller holds mu.
func (d *Dispatcher) allSlow(now time.Time) bool {
	for a := range d.active {
		if now.Sub(a.begun) < d.config.ClientWait {
			return false
		}
	}
	return true
}

// await waits for the upstream's answer as long as one may come in time.
func (d *Dispatcher) await(ctx context.Context, m *message) reply.Reply {
	begun := time.Now()
	timer := time.NewTimer(d.config.ClientWait)
	defer timer.Stop()
	for {
		select {
		case <-m.answered:
			return m.answer
		case <-ctx.Done():
			return d.setAside(ctx, m, errStopping.Error())
		case <-m.stopWait:
			return d.setAside(ctx, m, d.heldReason(m))
		case <-timer.C:
			more := m.waitLeft(begun, time.Now(), d.clientWait())
			if more <= 0 {
				return d.setAside(ctx, m, "the upstream is slow to answer")
			}
			// The queue may be set meanwhile, which makes the wait shorter.
			timer.Reset(min(more, max(d.config.ClientWait, time.Second)))
		}
	}
}

// clientWait is how long a client waits. Without a queue nothing else can be
// done for it, so it waits as long as an attempt may take.
func (d *Dispatcher) clientWait() time.Duration {
	if q, _ := d.Queue(); q == nil {
		return d.config.Timeout
	}
	return d.config.ClientWait
}

// heldReason is why a message whose wait was ended is kept.
func (d *Dispatcher) heldReason(m *message) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if b := m.route.heldBy(m.route.throttle.Account(m.account, time.Now())); b != nil {
		return b.Hold().Reason
	}
	return errStopping.Error()
}

// setAside keeps the message in the queue, which it waits for if need be, and
// answers the client with 250. An attempt that is under way goes on; where the
// message cannot be kept its result is the answer.
func (d *Dispatcher) setAside(ctx context.Context, m *message, why string) reply.Reply {
	d.mu.Lock()
	started := m.started
	if !started {
		d.live.Remove(m.flow(), m)
	}
	d.mu.Unlock()
	q, reason := d.awaitQueue(ctx, m.deadline)
	err := m.keep(q)
	if errors.Is(err, errNoSpool) {
		err = reason
	}
	if err != nil && started {
		select {
		case <-m.answered:
		case <-ctx.Done():
		}
	}
	return m.answerWith(func() reply.Reply {
		// The attempt may have found the room that was not there a moment ago.
		if !m.queued {
			answer := cannotKeep(err)
			answer.Text = fmt.Sprintf("%s; it cannot be sent at once: %s", answer.Text, why)
			return d.deferred(m.envelope, answer)
		}
		if !started {
			d.schedule(m.ticket, m.account)
		}
		return d.kept(m.envelope, why)
	})
}

// kept is the client's answer to a message that lies durable in the queue.
func (d *Dispatcher) kept(e envelope.Envelope, why string) reply.Reply {
	d.journal.Kept(e.ID, why)
	return reply.New(250, 0, 0, "%s is safe in the spool and will be sent: %s", e.ID, why)
}

// deferred records that a message was left with its client.
func (d *Dispatcher) deferred(e envelope.Envelope, answer reply.Reply) reply.Reply {
	d.journal.Deferred(e.ID, answer, nil, since(e))
	return answer
}
