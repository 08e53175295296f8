package dispatch

import (
	"errors"
	"slices"
	"time"

	"sealpost/relay/dispatch/throttle"
	"sealpost/relay/envelope"
	"sealpost/relay/queue"
	"sealpost/relay/reply"
	"sealpost/relay/report"
	"sealpost/relay/spool"
)

// finishLive handles the result of a delivery whose client may still be
// waiting.
func (d *Dispatcher) finishLive(a *attempt, dl *delivery) {
	m := a.message
	dl.release()
	m.bind(dl.progress.Route)
	if clientReply, final := dl.finalReply(); final && m.finish(clientReply) {
		if clientReply.Positive() {
			d.journal.Delivered(dl.envelope.ID, dl.onlyRecipient(), dl.result.Connection, clientReply, dl.took)
			q, _ := d.Queue()
			d.notifyOfRelaying(q, dl)
		} else {
			d.journal.Refused(dl.envelope.ID, clientReply, dl.took)
		}
		return
	}
	if d.offerAgain(dl, m) {
		return
	}
	m.failed.Store(true)
	d.mu.Lock()
	mustWait := d.queuePending != nil
	d.mu.Unlock()
	if mustWait {
		// Free the slot for other messages while this one waits for the queue.
		d.end(a)
		defer d.kick()
	}
	q, queueErr := d.awaitQueue(d.context, m.deadline)
	err := m.enqueue(q)
	if errors.Is(err, errNoSpool) {
		err = queueErr
	}
	if clientReply := dl.deferredReply(err); m.finish(clientReply) {
		d.journal.Deferred(dl.envelope.ID, clientReply, dl.err, dl.took)
		return
	}
	m.ensureReply(func() reply.Reply { return d.queuedReply(m.envelope, dl.route.labelled(dl.text())) })
	d.finishQueued(q, m.ticket, dl)
}

// finishQueued handles the result of a delivery of a queued message.
func (d *Dispatcher) finishQueued(q *queue.Queue, ticket queue.Ticket, dl *delivery) {
	if err := dl.content.err(); err != nil {
		d.giveUpDamaged(q, ticket, dl, err)
		return
	}
	dl.release()
	if dl.err != nil && d.context.Err() != nil {
		if dl.progress.Route != dl.stored {
			d.save(q, ticket.ID, dl.progress)
		}
		return
	}
	var failed []int
	before := slices.Clone(dl.progress.Settled)
	for n, i := range dl.pending {
		switch dl.outcome(n) {
		case delivered:
			dl.progress.Settled = dl.progress.Settled.Add(i)
		case refused:
			failed = append(failed, n)
		}
	}
	if deliveryReply, found := dl.evaluation.deliveryReply(); found {
		d.journal.Delivered(dl.envelope.ID, dl.onlyRecipient(), dl.result.Connection, deliveryReply, dl.took)
		d.notifyOfRelaying(q, dl)
	}
	if len(failed) > 0 && d.notifyOfFailure(q, dl, failed, "") {
		for _, n := range failed {
			dl.progress.Settled = dl.progress.Settled.Add(dl.pending[n])
			dl.progress.Failed = dl.progress.Failed.Add(dl.pending[n])
		}
	}
	if len(dl.unsettled()) == 0 {
		d.remove(q, ticket, dl.envelope)
		return
	}
	if !slices.Equal(dl.progress.Settled, before) {
		// A power cut must neither repeat a delivery nor a notification.
		d.saveNow(q, ticket.ID, dl.progress)
		dl.stored = dl.progress.Route
	}
	d.reschedule(q, ticket, dl)
}

// outcome returns the outcome of the n-th pending recipient.
func (dl *delivery) outcome(n int) outcome {
	if dl.err != nil {
		return pending
	}
	return dl.evaluation.outcomes[n]
}

// unsettled returns the recipients without a final outcome, as indexes into
// pending.
func (dl *delivery) unsettled() []int {
	var indexes []int
	for n, i := range dl.pending {
		if !dl.progress.Settled.Has(i) {
			indexes = append(indexes, n)
		}
	}
	return indexes
}

// remove deletes a message from the queue and from everything that refers to
// it.
func (d *Dispatcher) remove(q *queue.Queue, ticket queue.Ticket, e envelope.Envelope) {
	if err := q.Remove(ticket.ID); err != nil && !errors.Is(err, spool.ErrNotFound) {
		d.journal.SpoolFault(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.routes {
		r.breaker.Forget(e.ID)
		r.throttle.Forget(d.backlog.Assignment(ticket.ID).Accounts[r.number], e.ID)
	}
	d.backlog.Forget(ticket.ID)
}

// reschedule puts a message back on the schedule: at once if the upstream is at
// fault, because its breaker holds the message back, else after the message's
// own delay. A message that is too old is given up.
func (d *Dispatcher) reschedule(q *queue.Queue, ticket queue.Ticket, dl *delivery) {
	now := time.Now()
	if d.tooOld(dl, now) && d.expire(q, ticket, dl) {
		return
	}
	dl.progress.Last = dl.route.labelled(dl.text())
	dl.to.Bound = d.bound(dl.progress.Route)
	if dl.isUpstreamFault() {
		// While the upstream accepts no mail a warning could not leave either.
		warned := dl.route.Domains && d.warnIfDue(q, dl, now)
		if warned || len(dl.progress.Settled) > 0 || dl.progress.Route != dl.stored {
			d.save(q, ticket.ID, dl.progress)
		}
		if warned {
			d.probeNext(dl, now)
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		d.backlog.Assign(ticket.ID, dl.to)
		if dl.neverOffered() && !warned {
			d.backlog.PushFront(ticket)
		} else {
			// Let other messages go first: this one may be the cause.
			d.backlog.Push(ticket)
		}
		return
	}
	dl.progress.Next = now.Add(dl.route.Retry.delays().After(dl.progress.Attempts))
	dl.progress.Attempts++
	d.warnIfDue(q, dl, now)
	d.save(q, ticket.ID, dl.progress)
	d.journal.Retrying(dl.envelope.ID, dl.progress.Last, dl.progress.Attempts, dl.progress.Next)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.backlog.Assign(ticket.ID, dl.to)
	d.backlog.Postpone(ticket, dl.progress.Next)
}

// warnIfDue notifies the sender of a message that is delayed for long, once.
func (d *Dispatcher) warnIfDue(q *queue.Queue, dl *delivery, now time.Time) (warned bool) {
	if dl.progress.Warned || dl.envelope.Report || now.Sub(dl.envelope.Received) < dl.route.Retry.Warning ||
		dl.isUpstreamFault() && len(d.holdingNotification(dl, now)) > 0 {
		return false
	}
	dl.progress.Warned = d.notify(q, report.Delayed, dl, dl.unsettled(), "")
	return dl.progress.Warned
}

// holdingNotification returns the breakers that hold a notification about the message
// back, none if it can leave.
func (d *Dispatcher) holdingNotification(dl *delivery, now time.Time) []*throttle.Breaker {
	to, sender := dl.route.notificationAddress(dl.envelope)
	notification := d.assignment(envelope.Envelope{Sender: sender, Recipients: []envelope.Address{to}, Report: true})
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.heldBy(notification, now)
}

// probeNext lets the next message to an unreachable domain be tried at once: it may be due for a
// notification like the one before it.
func (d *Dispatcher) probeNext(dl *delivery, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if dl.route.Domains && dl.account.Name != "" {
		dl.account.Breaker.ProbeNow(now)
		d.kick()
	}
}

// isUpstreamFault reports whether the delivery failed for a reason other than
// the message.
func (dl *delivery) isUpstreamFault() bool {
	if dl.err != nil {
		return !dl.content.wasRead() && !dl.messageFault
	}
	return dl.evaluation.upstreamFault != nil && !dl.messageFault
}

func (d *Dispatcher) save(q *queue.Queue, id queue.ID, p queue.Progress) {
	if err := q.Save(id, p); err != nil && !errors.Is(err, spool.ErrNotFound) {
		d.journal.SpoolFault(err)
	}
}

// saveNow is save that returns once the progress is durable.
func (d *Dispatcher) saveNow(q *queue.Queue, id queue.ID, p queue.Progress) {
	if err := q.SaveNow(d.context, id, p); err != nil && !errors.Is(err, spool.ErrNotFound) {
		d.journal.SpoolFault(err)
	}
}

// tooOld reports whether a message has exceeded its maximum age. A message that
// did so during an outage is tried once more afterwards: its notification could
// not have been sent either.
func (d *Dispatcher) tooOld(dl *delivery, now time.Time) bool {
	maxAge := dl.route.Retry.Age
	if now.Sub(dl.envelope.Received) <= maxAge {
		return false
	}
	breakers := d.holdingNotification(dl, now)
	if !dl.isUpstreamFault() || len(breakers) == 0 {
		return true
	}
	// The outage began when the last of the routes failed.
	d.mu.Lock()
	defer d.mu.Unlock()
	var since time.Time
	for _, b := range breakers {
		if b.Hold().Since.After(since) {
			since = b.Hold().Since
		}
	}
	return since.Sub(dl.envelope.Received) > maxAge
}

// expire gives up a message for its age, if its sender can be notified.
func (d *Dispatcher) expire(q *queue.Queue, ticket queue.Ticket, dl *delivery) bool {
	reason := "it could not be delivered in time; the last attempt: " + dl.route.labelled(dl.text())
	if !d.notifyOfFailure(q, dl, dl.unsettled(), reason) {
		return false
	}
	d.journal.Expired(dl.envelope.ID, dl.route.labelled(dl.text()))
	d.remove(q, ticket, dl.envelope)
	d.probeNext(dl, time.Now())
	return true
}
