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

// settleLive follows from an attempt whose client may still be waiting.
func (d *Dispatcher) settleLive(m *message, t *trial) {
	if answer, final := t.finalAnswer(); final && m.conclude(answer) {
		d.recordFinal(t, answer)
		return
	}
	q, _ := d.Queue()
	if answer := unkept(t, m.keep(q)); m.conclude(answer) {
		d.journal.Deferred(t.envelope.ID, answer, t.err, t.lasted)
		return
	}
	m.settle(func() reply.Reply { return d.kept(m.envelope, t.words()) })
	d.settleKept(q, m.ticket, t)
}

// finalAnswer is the client's answer where nothing remains to be done.
func (t *trial) finalAnswer() (reply.Reply, bool) {
	switch {
	case t.err != nil:
		return reply.Reply{}, false
	case t.verdict.all(delivered):
		return reply.New(250, 0, 0, "taken by %s: %s", t.result.Connection.Host, t.verdict.answers[0]), true
	case t.verdict.all(refused):
		return clientAnswer(t), true
	}
	return reply.Reply{}, false
}

func (d *Dispatcher) recordFinal(t *trial, answer reply.Reply) {
	if answer.Positive() {
		d.journal.Delivered(t.envelope.ID, t.result.Connection, answer, t.lasted)
		return
	}
	d.journal.Refused(t.envelope.ID, answer, t.lasted)
}

// settleKept follows from an attempt at a message that lies in the queue.
func (d *Dispatcher) settleKept(q *queue.Queue, ticket queue.Ticket, t *trial) {
	if err := t.content.broken(); err != nil {
		d.damaged(q, ticket, t, err)
		return
	}
	if t.err != nil && d.context.Err() != nil {
		return
	}
	var failed []int
	for n, i := range t.owed {
		switch t.fate(n) {
		case delivered:
			t.progress.Settled = t.progress.Settled.Add(i)
		case refused:
			failed = append(failed, n)
		}
	}
	if answer, some := t.verdict.deliveredWith(); some {
		d.journal.Delivered(t.envelope.ID, t.result.Connection, answer, t.lasted)
	}
	if len(failed) > 0 && d.bounce(q, t, failed, "") {
		for _, n := range failed {
			t.progress.Settled = t.progress.Settled.Add(t.owed[n])
		}
	}
	if len(t.left()) == 0 {
		d.done(q, ticket, t.envelope)
		return
	}
	d.again(q, ticket, t)
}

// fate is what became of the n-th recipient that is owed the message.
func (t *trial) fate(n int) fate {
	if t.err != nil {
		return owed
	}
	if t.own && t.envelope.Report && t.verdict.fates[n] == owed && t.verdict.answers[n].Permanent() {
		return refused
	}
	return t.verdict.fates[n]
}

// words is what the attempt came to, for people.
func (t *trial) words() string {
	if t.err != nil {
		words := unavailable(t.err).Text
		if reading, known := t.denial(); known {
			words += ": " + reading.Words()
		}
		return words
	}
	if t.verdict.hold != nil {
		return t.verdict.holdWords()
	}
	return t.explain(t.verdict.worst(), t.verdict.answers).String()
}

// done ends a message's stay in the queue.
func (d *Dispatcher) done(q *queue.Queue, ticket queue.Ticket, e envelope.Envelope) {
	if err := q.Remove(ticket.ID); err != nil && !errors.Is(err, spool.ErrNotFound) {
		d.journal.SpoolFault(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.gate.suspects, e.ID)
	if own := d.ledger.accounts[d.backlog.owners[ticket.ID]]; own != nil {
		delete(own.gate.suspects, e.ID)
	}
	d.backlog.disown(ticket.ID)
}

// again puts a message back on the schedule: at once where the upstream as a
// whole is at fault and the gate keeps it back, else after a pause of its own.
func (d *Dispatcher) again(q *queue.Queue, ticket queue.Ticket, t *trial) {
	now := time.Now()
	if d.tooOld(t, now) && d.expire(q, ticket, t) {
		return
	}
	t.progress.Last = t.words()
	if t.upstreamsFault() {
		if len(t.progress.Settled) > 0 {
			d.save(q, ticket.ID, t.progress)
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		d.backlog.putBack(ticket, t.err != nil && !t.ready())
		return
	}
	t.progress.Next = now.Add(pause(d.config.Retry.First, d.config.Retry.Longest, t.progress.Attempts))
	t.progress.Attempts++
	d.warn(q, t, now)
	d.save(q, ticket.ID, t.progress)
	d.journal.Retrying(t.envelope.ID, t.progress.Last, t.progress.Attempts, t.progress.Next)
	d.postpone(ticket, t.progress.Next)
}

// upstreamsFault tells whether the message itself had no part in its failure.
func (t *trial) upstreamsFault() bool {
	if t.err != nil {
		return !t.content.begun() && !t.own
	}
	return t.verdict.hold != nil && !t.own
}

// tooOld tells whether a message is to be given up for its age. One that grew
// old while the upstream took no mail is offered once more when it does: its
// notification could not leave either.
func (d *Dispatcher) tooOld(t *trial, now time.Time) bool {
	if now.Sub(t.envelope.Received) <= d.config.Retry.Age {
		return false
	}
	to, sender := d.addressee(t.envelope)
	told := d.upstream.Account(envelope.Envelope{Sender: sender, Recipients: []envelope.Address{to}, Report: true})
	d.mu.Lock()
	defer d.mu.Unlock()
	g := d.closed(d.ledger.of(told, now))
	outage := t.upstreamsFault() && g != nil
	return !outage || g.since.Sub(t.envelope.Received) > d.config.Retry.Age
}

func (d *Dispatcher) save(q *queue.Queue, id queue.ID, p queue.Progress) {
	if err := q.Save(id, p); err != nil && !errors.Is(err, spool.ErrNotFound) {
		d.journal.SpoolFault(err)
	}
}

func (d *Dispatcher) postpone(t queue.Ticket, due time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.backlog.postpone(t, due)
}

// unreadable gives up a message of which not even the envelope can be read:
// nobody can be told, and it would stand in the ring's way. One that is gone was
// dropped by a person.
func (d *Dispatcher) unreadable(q *queue.Queue, ticket queue.Ticket, err error) {
	if errors.Is(err, spool.ErrNotFound) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.backlog.disown(ticket.ID)
		return
	}
	d.journal.Damaged(uint64(ticket.ID), "", err)
	d.done(q, ticket, envelope.Envelope{})
}

// damaged tells the sender of a message that the flash has lost.
func (d *Dispatcher) damaged(q *queue.Queue, ticket queue.Ticket, t *trial, err error) {
	if errors.Is(err, spool.ErrNotFound) {
		return
	}
	d.journal.Damaged(uint64(ticket.ID), t.envelope.ID, err)
	t.err, t.result.Answers = err, nil
	d.tellDamage(q, ticket, t)
}

// tellDamage tells the sender, now or when there is room for it. The message is
// removed in any case: the spool gives it no more, and a full ring cannot go
// round while it is there. What is known of it is kept in memory meanwhile.
func (d *Dispatcher) tellDamage(q *queue.Queue, ticket queue.Ticket, t *trial) {
	told := d.bounce(q, t, t.left(), "the message was damaged in the relay's storage, please send it again")
	d.done(q, ticket, t.envelope)
	d.mu.Lock()
	defer d.mu.Unlock()
	if told {
		delete(d.untold, ticket.ID)
		return
	}
	d.untold[ticket.ID] = t
	d.backlog.postpone(ticket, time.Now().Add(d.config.Retry.First))
}

// untoldDamage is a damaged message whose sender knows nothing of it yet.
func (d *Dispatcher) untoldDamage(id queue.ID) *trial {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.untold[id]
}

// expire gives a message up for its age, if its sender can be told.
func (d *Dispatcher) expire(q *queue.Queue, ticket queue.Ticket, t *trial) bool {
	words := "it could not be delivered in time; the last attempt: " + t.words()
	if !d.bounce(q, t, t.left(), words) {
		return false
	}
	d.journal.Expired(t.envelope.ID, t.words())
	d.done(q, ticket, t.envelope)
	return true
}

// left gives the places of those that are still owed it.
func (t *trial) left() []int {
	var places []int
	for n, i := range t.owed {
		if !t.progress.Settled.Has(i) {
			places = append(places, n)
		}
	}
	return places
}

// warn tells the sender once that the message is late. While the upstream as a
// whole takes no mail there is no use in it: the warning could not leave.
func (d *Dispatcher) warn(q *queue.Queue, t *trial, now time.Time) {
	if t.progress.Warned || t.envelope.Report || now.Sub(t.envelope.Received) < d.config.Retry.Warning {
		return
	}
	t.progress.Warned = d.notify(q, report.Delayed, t, t.left(), "")
}
