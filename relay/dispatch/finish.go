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
func (d *Dispatcher) finishLive(a *attempt, dl *delivery) {
	m := a.message
	if answer, final := dl.finalAnswer(); final && m.finish(answer) {
		if answer.Positive() {
			d.journal.Delivered(dl.envelope.ID, dl.result.Connection, answer, dl.took)
		} else {
			d.journal.Refused(dl.envelope.ID, answer, dl.took)
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
	if answer := dl.deferredAnswer(err); m.finish(answer) {
		d.journal.Deferred(dl.envelope.ID, answer, dl.err, dl.took)
		return
	}
	m.answerWith(func() reply.Reply { return d.kept(m.envelope, dl.words()) })
	d.finishQueued(q, m.ticket, dl)
}

// finishQueued does what follows from a delivery of a message that lies in the
// queue.
func (d *Dispatcher) finishQueued(q *queue.Queue, ticket queue.Ticket, dl *delivery) {
	if err := dl.content.err(); err != nil {
		d.damaged(q, ticket, dl, err)
		return
	}
	if dl.err != nil && d.context.Err() != nil {
		return
	}
	var failed []int
	for n, i := range dl.pending {
		switch dl.outcome(n) {
		case delivered:
			dl.progress.Settled = dl.progress.Settled.Add(i)
		case refused:
			failed = append(failed, n)
		}
	}
	if answer, found := dl.verdict.deliveredWith(); found {
		d.journal.Delivered(dl.envelope.ID, dl.result.Connection, answer, dl.took)
	}
	if len(failed) > 0 && d.bounce(q, dl, failed, "") {
		for _, n := range failed {
			dl.progress.Settled = dl.progress.Settled.Add(dl.pending[n])
		}
	}
	if len(dl.left()) == 0 {
		d.remove(q, ticket, dl.envelope)
		return
	}
	d.reschedule(q, ticket, dl)
}

// outcome is what became of the n-th pending recipient. A notification that the
// server refuses for a fault of its own is not tried again.
func (dl *delivery) outcome(n int) outcome {
	if dl.err != nil {
		return pending
	}
	if dl.messageFault && dl.envelope.Report && dl.verdict.outcomes[n] == pending && dl.verdict.answers[n].Permanent() {
		return refused
	}
	return dl.verdict.outcomes[n]
}

// left gives the recipients with nothing final, by their place in pending.
func (dl *delivery) left() []int {
	var places []int
	for n, i := range dl.pending {
		if !dl.progress.Settled.Has(i) {
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
func (d *Dispatcher) reschedule(q *queue.Queue, ticket queue.Ticket, dl *delivery) {
	now := time.Now()
	if d.tooOld(dl, now) && d.expire(q, ticket, dl) {
		return
	}
	dl.progress.Last = dl.words()
	if dl.isUpstreamFault() {
		if len(dl.progress.Settled) > 0 {
			d.save(q, ticket.ID, dl.progress)
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		if dl.neverOffered() {
			d.backlog.PushFront(ticket)
		} else {
			// Others may fare better.
			d.backlog.Push(ticket)
		}
		return
	}
	dl.progress.Next = now.Add(dl.route.Retry.pauses().After(dl.progress.Attempts))
	dl.progress.Attempts++
	// While the upstream takes no mail a warning could not leave either.
	if !dl.progress.Warned && !dl.envelope.Report && now.Sub(dl.envelope.Received) >= dl.route.Retry.Warning {
		dl.progress.Warned = d.notify(q, report.Delayed, dl, dl.left(), "")
	}
	d.save(q, ticket.ID, dl.progress)
	d.journal.Retrying(dl.envelope.ID, dl.progress.Last, dl.progress.Attempts, dl.progress.Next)
	d.postpone(ticket, dl.progress.Next)
}

// isUpstreamFault reports whether the message itself had no part in the failure
// of its delivery.
func (dl *delivery) isUpstreamFault() bool {
	if dl.err != nil {
		return !dl.content.wasRead() && !dl.messageFault
	}
	return dl.verdict.upstreamFault != nil && !dl.messageFault
}

func (d *Dispatcher) save(q *queue.Queue, id queue.ID, p queue.Progress) {
	if err := q.Save(id, p); err != nil && !errors.Is(err, spool.ErrNotFound) {
		d.journal.SpoolFault(err)
	}
}

// tooOld reports whether a message is to be given up for its age. One that grew
// old while the upstream took no mail is offered once more when it does: its
// notification could not leave either.
func (d *Dispatcher) tooOld(dl *delivery, now time.Time) bool {
	maxAge := dl.route.Retry.Age
	if now.Sub(dl.envelope.Received) <= maxAge {
		return false
	}
	to, sender := dl.route.addressee(dl.envelope)
	notification := envelope.Envelope{Sender: sender, Recipients: []envelope.Address{to}, Report: true}
	route := d.routeOf(notification)
	account := route.Upstream.Account(notification)
	d.mu.Lock()
	defer d.mu.Unlock()
	b := route.heldBy(route.throttle.Account(account, now))
	outage := dl.isUpstreamFault() && b != nil
	return !outage || b.Hold().Since.Sub(dl.envelope.Received) > maxAge
}

// expire gives a message up for its age, if its sender can be notified.
func (d *Dispatcher) expire(q *queue.Queue, ticket queue.Ticket, dl *delivery) bool {
	words := "it could not be delivered in time; the last attempt: " + dl.words()
	if !d.bounce(q, dl, dl.left(), words) {
		return false
	}
	d.journal.Expired(dl.envelope.ID, dl.words())
	d.remove(q, ticket, dl.envelope)
	return true
}
