package dispatch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sealpost/relay/envelope"
	"sealpost/relay/queue"
	"sealpost/relay/reply"
)

// offer gives a message to the upstream while its client waits, and keeps it
// where that is not to be waited for.
func (d *Dispatcher) offer(ctx context.Context, m *message) reply.Reply {
	defer m.release()
	if why := d.join(m, time.Now()); why != "" {
		return d.setAside(ctx, m, why)
	}
	d.kick()
	return d.await(ctx, m)
}

// join puts the message in its turn, or says why there is no use in waiting.
func (d *Dispatcher) join(m *message, now time.Time) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	why := d.hopeless(m.account, now)
	// Without a queue waiting is all there is to do.
	if why != "" && d.queue != nil {
		return why
	}
	if d.stopping {
		return errStopping.Error()
	}
	d.live.push(m.party(), m)
	return ""
}

// hopeless says why the upstream will not take a message of that account within
// the hold time. The caller holds mu.
func (d *Dispatcher) hopeless(account string, now time.Time) string {
	own := d.ledger.of(account, now)
	if d.stopping {
		return errStopping.Error()
	}
	for _, g := range []*gate{&d.gate, &own.gate} {
		if g.closed() && (!g.ready(now) || d.backlog.due() > 0 || d.live.size > 0) {
			return g.reason
		}
	}
	switch {
	case own.wait(now) > d.config.Hold:
		return "as many messages were sent as may be for now"
	case len(d.active) >= d.ledger.slots(now) && d.stuck(now):
		return "the upstream is slow to answer"
	}
	return ""
}

// stuck tells whether every attempt under way takes longer than a client would
// wait. The caller holds mu.
func (d *Dispatcher) stuck(now time.Time) bool {
	for a := range d.active {
		if now.Sub(a.begun) < d.config.Hold {
			return false
		}
	}
	return true
}

// await waits for the upstream's answer as long as there is hope for it.
func (d *Dispatcher) await(ctx context.Context, m *message) reply.Reply {
	begun := time.Now()
	timer := time.NewTimer(d.config.Hold)
	defer timer.Stop()
	for {
		select {
		case <-m.answered:
			return m.answer
		case <-ctx.Done():
			return d.setAside(ctx, m, errStopping.Error())
		case <-m.leave:
			return d.setAside(ctx, m, d.reason(m.account))
		case <-timer.C:
			more := m.patience(begun, time.Now(), d.hold())
			if more <= 0 {
				return d.setAside(ctx, m, "the upstream is slow to answer")
			}
			// A queue may come meanwhile.
			timer.Reset(min(more, max(d.config.Hold, time.Second)))
		}
	}
}

// hold is how long a client waits. Without a queue nothing else can be done
// for it, so it waits as long as an attempt may take.
func (d *Dispatcher) hold() time.Duration {
	if q, _ := d.Queue(); q == nil {
		return d.config.Timeout
	}
	return d.config.Hold
}

// reason is why an account's mail is kept at this moment.
func (d *Dispatcher) reason(account string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if g := d.closed(d.ledger.of(account, time.Now())); g != nil {
		return g.reason
	}
	return errStopping.Error()
}

// closed is the gate that keeps an account's mail back, of two the one that has
// for longer; nil where none does. The caller holds mu.
func (d *Dispatcher) closed(a *account) *gate {
	whole, own := &d.gate, &a.gate
	switch {
	case !own.closed() && !whole.closed():
		return nil
	case !own.closed(), whole.closed() && whole.since.Before(own.since):
		return whole
	}
	return own
}

// setAside keeps the message and answers the client with 250. An attempt that
// is under way goes on; where the message cannot be kept its outcome decides.
func (d *Dispatcher) setAside(ctx context.Context, m *message, why string) reply.Reply {
	d.mu.Lock()
	started, q, cause := m.started, d.queue, d.noQueue
	if !started {
		d.live.remove(m.party(), m)
	}
	d.mu.Unlock()
	err := m.keep(q)
	if errors.Is(err, errNoSpool) {
		err = cause
	}
	if err != nil && started {
		select {
		case <-m.answered:
		case <-ctx.Done():
		}
	}
	return m.settle(func() reply.Reply {
		// The attempt may have found the room that was not there a moment ago.
		if !m.kept {
			return d.declinedAs(m.envelope, notKept(err, why))
		}
		if !started {
			d.put(m.ticket, m.account)
		}
		return d.kept(m.envelope, why)
	})
}

// notKept is the client's answer where the upstream takes no mail and the
// queue takes none either.
func notKept(err error, why string) reply.Reply {
	answer := cannotKeep(err)
	answer.Text = fmt.Sprintf("%s; it cannot be sent at once: %s", answer.Text, why)
	return answer
}

// put puts a message that lies in the queue on the schedule; its account has no
// name where it is not known.
func (d *Dispatcher) put(t queue.Ticket, account string) {
	d.mu.Lock()
	d.backlog.own(t.ID, account)
	d.backlog.push(t)
	ready := d.gate.ready(time.Now())
	d.mu.Unlock()
	if ready {
		d.kick()
	}
}

func (d *Dispatcher) kept(e envelope.Envelope, why string) reply.Reply {
	d.journal.Kept(e.ID, why)
	return reply.New(250, 0, 0, "%s is safe in the spool and will be sent: %s", e.ID, why)
}

// lasted is how long ago a message came, where that is known.
func lasted(e envelope.Envelope) time.Duration {
	if e.Received.IsZero() {
		return 0
	}
	return time.Since(e.Received)
}

func (d *Dispatcher) declinedAs(e envelope.Envelope, answer reply.Reply) reply.Reply {
	d.journal.Deferred(e.ID, answer, nil, lasted(e))
	return answer
}
