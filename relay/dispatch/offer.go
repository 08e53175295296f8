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

// offer sends a message while its client waits, and queues it if that takes too
// long or the upstream accepts no mail.
func (d *Dispatcher) offer(ctx context.Context, m *message) reply.Reply {
	defer m.release()
	d.mu.Lock()
	reason := d.queueReason(m.route, m.account, time.Now())
	// Without a queue the client can only wait.
	mayWait := reason == "" || d.queue == nil && !d.stopping
	if mayWait {
		d.live.Push(m.flow(), m)
	}
	d.mu.Unlock()
	if !mayWait {
		return d.moveToQueue(ctx, m, reason)
	}
	d.kick()
	return d.await(ctx, m)
}

// queueReason returns why a message of that account must be queued rather than
// sent while its client waits, or "" if it may be sent. The caller holds mu.
func (d *Dispatcher) queueReason(r *Route, account string, now time.Time) string {
	if d.stopping {
		return errStopping.Error()
	}
	acct := r.throttle.Account(account, now)
	for _, b := range []*throttle.Breaker{r.breaker, acct.Breaker} {
		if b.Held() && (!b.Allows(now) || d.backlog.Due() > 0 || d.live.Len() > 0) {
			return b.Hold().Reason
		}
	}
	switch {
	case acct.LimitedFor(now) > d.config.ClientWait:
		return "the sending limit is reached for now"
	case len(d.active) >= r.throttle.Slots(now) && d.allSlow(now):
		return "the upstream is slow to reply"
	}
	return ""
}

// allSlow reports whether every active attempt has taken longer than a client
// would wait. The caller holds mu.
func (d *Dispatcher) allSlow(now time.Time) bool {
	for a := range d.active {
		if now.Sub(a.begun) < d.config.ClientWait {
			return false
		}
	}
	return true
}

// await waits for the upstream's reply, and queues the message if none comes in
// time.
func (d *Dispatcher) await(ctx context.Context, m *message) reply.Reply {
	begun := time.Now()
	timer := time.NewTimer(d.config.ClientWait)
	defer timer.Stop()
	for {
		select {
		case <-m.replied:
			return m.reply
		case <-ctx.Done():
			return d.moveToQueue(ctx, m, errStopping.Error())
		case <-m.stopWait:
			return d.moveToQueue(ctx, m, d.heldReason(m))
		case <-timer.C:
			left := m.waitLeft(begun, time.Now(), d.clientWait())
			switch {
			case left > 0:
				// SetQueue may be called meanwhile, which shortens the wait.
				timer.Reset(min(left, max(d.config.ClientWait, time.Second)))
			case m.failed.Load():
				timer.Reset(time.Second)
			default:
				return d.moveToQueue(ctx, m, "the upstream is slow to reply")
			}
		}
	}
}

// clientWait returns how long a client waits. Without a queue it waits as long
// as an attempt may take.
func (d *Dispatcher) clientWait() time.Duration {
	if q, _ := d.Queue(); q == nil {
		return d.config.Timeout
	}
	return d.config.ClientWait
}

// heldReason returns why a message whose wait was ended is queued.
func (d *Dispatcher) heldReason(m *message) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if b := m.route.heldBy(m.route.throttle.Account(m.account, time.Now())); b != nil {
		return b.Hold().Reason
	}
	return errStopping.Error()
}

// moveToQueue queues the message, waiting for the queue if necessary, and
// returns the client's 250. An active attempt continues; if the message cannot
// be queued, its result is the client's reply.
func (d *Dispatcher) moveToQueue(ctx context.Context, m *message, reason string) reply.Reply {
	d.mu.Lock()
	started := m.started
	if !started {
		d.live.Remove(m.flow(), m)
	}
	d.mu.Unlock()
	q, queueErr := d.awaitQueue(ctx, m.deadline)
	err := m.enqueue(q)
	if errors.Is(err, errNoSpool) {
		err = queueErr
	}
	if err != nil && started {
		select {
		case <-m.replied:
		case <-ctx.Done():
		}
	}
	return m.ensureReply(func() reply.Reply {
		// The attempt may have queued the message meanwhile.
		if !m.queued {
			clientReply := cannotQueueReply(err)
			clientReply.Text = fmt.Sprintf("%s; it was not sent at once: %s", clientReply.Text, reason)
			return d.recordDeferred(m.envelope, clientReply)
		}
		if !started {
			d.schedule(m.ticket, m.account)
		}
		return d.queuedReply(m.envelope, reason)
	})
}

// queuedReply returns the client's reply to a message that is durable in the
// queue.
func (d *Dispatcher) queuedReply(e envelope.Envelope, reason string) reply.Reply {
	d.journal.Queued(e.ID, reason)
	return reply.New(250, 0, 0, "%s is queued and will be sent: %s", e.ID, reason)
}

// recordDeferred journals a 4yz reply, which leaves the message with its
// client, and returns it.
func (d *Dispatcher) recordDeferred(e envelope.Envelope, clientReply reply.Reply) reply.Reply {
	d.journal.Deferred(e.ID, clientReply, nil, ageOf(e))
	return clientReply
}
