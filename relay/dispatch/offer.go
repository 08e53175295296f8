package dispatch

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"sealpost/relay/dispatch/fairqueue"
	"sealpost/relay/dispatch/throttle"
	"sealpost/relay/envelope"
	"sealpost/relay/reply"
)

// offer sends a message while its client waits, and queues it if that takes too
// long or the upstream accepts no mail.
func (d *Dispatcher) offer(ctx context.Context, m *message) reply.Reply {
	defer m.release()
	d.mu.Lock()
	now := time.Now()
	reason := d.queueReason(m.to, now)
	// Without a queue the client can only wait.
	mayWait := reason == "" || d.queue == nil && !d.stopping
	if mayWait {
		d.live.Push(m.flow(), m)
		d.start(now)
	}
	waiting := !m.started
	d.mu.Unlock()
	switch {
	case !mayWait:
		return d.moveToQueue(ctx, m, reason)
	case waiting:
		d.kick() // run sleeps until something else
	}
	return d.await(ctx, m)
}

// queueReason returns why a message must be queued rather than sent while its client
// waits, or "" if it may be sent. The caller holds mu.
func (d *Dispatcher) queueReason(to fairqueue.Assignment, now time.Time) string {
	if d.stopping {
		return errStopping.Error()
	}
	var reasons []string
	for _, r := range d.routes {
		if !r.mayTake(to) {
			continue
		}
		reason, held := d.queueReasonOn(r, r.accountOf(to, now), now)
		if !held {
			return reason
		}
		reasons = append(reasons, r.labelled(reason))
	}
	return strings.Join(reasons, "; ")
}

// queueReasonOn is queueReason for one route; held reports whether a breaker or an
// exhausted limit is the reason, so that the next route takes the message. A message may
// be sent as a probe if no other waits to be it.
func (d *Dispatcher) queueReasonOn(r *Route, acct *throttle.Account, now time.Time) (reason string, held bool) {
	for _, b := range []*throttle.Breaker{r.breaker, acct.Breaker} {
		if b.Held() && (!b.Allows(now) || d.backlog.Due() > 0 || d.live.Len() > 0) {
			return b.Hold().Reason, true
		}
	}
	switch {
	case acct.LimitedFor(now) > d.config.ClientWait:
		return limitReached, isExhausted(acct, now)
	case r.active >= r.throttle.Slots(now) && d.allSlow(r, now):
		return "the upstream is slow to reply", false
	}
	return "", false
}

// allSlow reports whether every active attempt on a route has taken longer than a
// client would wait. The caller holds mu.
func (d *Dispatcher) allSlow(r *Route, now time.Time) bool {
	for a := range d.active {
		if a.route == r && now.Sub(a.begun) < d.config.ClientWait {
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
	now := time.Now()
	if d.heldBy(m.to, now) != nil {
		return d.reasons(d.routes, m.to, now)
	}
	return errStopping.Error()
}

// moveToQueue queues the message, waiting for the queue if necessary, and
// returns the client's 250. An active attempt continues; if the message cannot
// be queued, its result is the client's reply.
func (d *Dispatcher) moveToQueue(ctx context.Context, m *message, reason string) reply.Reply {
	idle := d.withdraw(m)
	q, queueErr := d.awaitQueue(ctx, m.deadline)
	err := m.enqueue(q)
	if errors.Is(err, errNoSpool) {
		err = queueErr
	}
	for wait := err != nil && !idle; wait; {
		select {
		case <-m.replied:
			wait = false
		case <-ctx.Done():
			wait = false
		case <-m.stopWait:
			// The attempt may have left the message to another route, which is held back too.
			wait = !d.withdraw(m)
		}
	}
	return m.ensureReply(func() reply.Reply {
		idle := d.withdraw(m)
		// The attempt may have queued the message meanwhile.
		if !m.queued {
			clientReply := cannotQueueReply(err)
			clientReply.Text = fmt.Sprintf("%s; it was not sent at once: %s", clientReply.Text, reason)
			return d.recordDeferred(m.envelope, clientReply)
		}
		if idle {
			d.schedule(m.ticket, m.to.Free())
		}
		return d.queuedReply(m.envelope, reason)
	})
}

// withdraw takes a live message off the schedule. It returns false if an attempt is
// under way.
func (d *Dispatcher) withdraw(m *message) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if m.started {
		return false
	}
	d.live.Remove(m.flow(), m)
	return true
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
