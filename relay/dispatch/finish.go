package dispatch

import (
	"errors"
	"time"

	"sealpost/relay/envelope"
	"sealpost/relay/queue"
	"sealpost/relay/reply"
	"sealpost/relay/report"
	"sealpost/relay/spool"
)

// finishLive does what follows from a delivery whose client may still be
// waiting.
func (d *Dispatcher) finishLive(a *attempt, t *delivery) {
	m := a.message
	if answer, final := t.finalAnswer(); final && m.finish(answer) {
		if answer.Positive() {
			d.journal.Delivered(t.envelope.ID, t.result.Connection, answer, t.took)
		} else {
			d.journal.Refused(t.envelope.ID, answer, t.took)
		}
		return
	}
	d.mu.Lock()
	mustWait := d.queuePending != nil
	d.mu.Unlock()
	if mustWait {
		// Others may be sent while this one waits for the queue.
		d.end(a)
		defer d.kick()
	}
	q, reason := d.awaitQueue(d.context, m.deadline)
	err := m.keep(q)
	if errors.Is(err, errNoSpool) {
		err = reason
	}
	if answer := t.deferredAnswer(err); m.finish(answer) {
		d.journal.Deferred(t.envelope.ID, answer, t.err, t.took)
		return
	}
	m.answerWith(func() reply.Reply { return d.kept(m.envelope, t.words()) })
	d.finishQueued(q, m.ticket, t)
}

// finishQueued does what follows from a delivery of a message that lies in the
// queue.
func (d *Dispatcher) finishQueued(q *queue.Queue, ticket queue.Ticket, t *delivery) {
	if err := t.content.err(); err != nil {
		d.damaged(q, ticket, t, err)
		return
	}
	if t.err != nil && d.context.Err() != nil {
		return
	}
	var failed []int
	for n, i := range t.pending {
		switch t.outcome(n) {
		case delivered:
			t.progress.Settled = t.progress.Settled.Add(i)
		case refused:
			failed = append(failed, n)
		}
	}
	if answer, found := t.verdict.deliveredWith(); found {
		d.journal.Delivered(t.envelope.ID, t.result.Connection, answer, t.took)
	}
	if len(failed) > 0 && d.bounce(q, t, failed, "") {
		for _, n := range failed {
			t.progress.Settled = t.progress.Settled.Add(t.pending[n])
		}
	}
	if len(t.left()) == 0 {
		d.remove(q, ticket, t.envelope)
		return
	}
	d.reschedule(q, ticket, t)
}

// outcome is what became of the n-th pending recipient. A notification that the
// server refuses for a fault of its own is not tried again.
func (t *delivery) outcome(n int) outcome {
	if t.err != nil {
		return pending
	}
	if t.messageFault && t.envelope.Report && t.verdict.outcomes[n] == pending && t.verdict.answers[n].Permanent() {
		return refused
	}
	return t.verdict.outcomes[n]
}

// left gives the recipients with nothing final, by their place in pending.
func (t *delivery) left() []int {
	var places []int
	for n, i := range t.pending {
		if !t.progress.Settled.Has(i) {
			places = append(places, n)
		}
	}
	return places
}

// remove ends a message's stay in the queue.
func (d *Dispatcher) remove(q *queue.Queue, ticket queue.Ticket, e envelope.Envelope) {
	if err := q.Remove(ticket.ID); err != nil && !errors.Is(err, spool.ErrNotFound) {
		d.journal.SpoolFault(err)
	}
	route := d.routeOf(e)
	d.mu.Lock()
	defer d.mu.Unlock()
	route.breaker.Forget(e.ID)
	route.throttle.Forget(d.backlog.Account(ticket.ID), e.ID)
	d.backlog.ClearAccount(ticket.ID)
}

// reschedule puts a message back on the schedule: at once where the upstream is
// at fault, as its breaker holds the message back, else after a pause of the
// message's own. One that is too old is given up.
func (d *Dispatcher) reschedule(q *queue.Queue, ticket queue.Ticket, t *delivery) {
	now := time.Now()
	if d.tooOld(t, now) && d.expire(q, ticket, t) {
		return
	}
	t.progress.Last = t.words()
	if t.isUpstreamFault() {
		if len(t.progress.Settled) > 0 {
			d.save(q, ticket.ID, t.progress)
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		if t.neverOffered() {
			d.backlog.PushFront(ticket)
		} else {
			// Others may fare better.
			d.backlog.Push(ticket)
		}
		return
	}
	t.progress.Next = now.Add(t.route.Retry.pauses().After(t.progress.Attempts))
	t.progress.Attempts++
	// While the upstream takes no mail a warning could not leave either.
	if !t.progress.Warned && !t.envelope.Report && now.Sub(t.envelope.Received) >= t.route.Retry.Warning {
		t.progress.Warned = d.notify(q, report.Delayed, t, t.left(), "")
	}
	d.save(q, ticket.ID, t.progress)
	d.journal.Retrying(t.envelope.ID, t.progress.Last, t.progress.Attempts, t.progress.Next)
	d.postpone(ticket, t.progress.Next)
}

// isUpstreamFault reports whether the message itself had no part in the failure
// of its delivery.
func (t *delivery) isUpstreamFault() bool {
	if t.err != nil {
		return !t.content.wasRead() && !t.messageFault
	}
	return t.verdict.upstreamFault != nil && !t.messageFault
}

func (d *Dispatcher) save(q *queue.Queue, id queue.ID, p queue.Progress) {
	if err := q.Save(id, p); err != nil && !errors.Is(err, spool.ErrNotFound) {
		d.journal.SpoolFault(err)
	}
}

// tooOld reports whether a message is to be given up for its age. One that grew
// old while the upstream took no mail is offered once more when it does: its
// notification could not leave either.
func (d *Dispatcher) tooOld(t *delivery, now time.Time) bool {
	maxAge := t.route.Retry.Age
	if now.Sub(t.envelope.Received) <= maxAge {
		return false
	}
	to, sender := t.route.addressee(t.envelope)
	notification := envelope.Envelope{Sender: sender, Recipients: []envelope.Address{to}, Report: true}
	route := d.routeOf(notification)
	account := route.Upstream.Account(notification)
	d.mu.Lock()
	defer d.mu.Unlock()
	b := route.heldBy(route.throttle.Account(account, now))
	outage := t.isUpstreamFault() && b != nil
	return !outage || b.Hold().Since.Sub(t.envelope.Received) > maxAge
}

// expire gives a message up for its age, if its sender can be notified.
func (d *Dispatcher) expire(q *queue.Queue, ticket queue.Ticket, t *delivery) bool {
	words := "it could not be delivered in time; the last attempt: " + t.words()
	if !d.bounce(q, t, t.left(), words) {
		return false
	}
	d.journal.Expired(t.envelope.ID, t.words())
	d.remove(q, ticket, t.envelope)
	return true
}
