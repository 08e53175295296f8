package dispatch

import (
	"errors"
	"time"

	"sealpost/relay/envelope"
	"sealpost/relay/queue"
	"sealpost/relay/spool"
)

// unreadable removes a message whose envelope cannot be read: nobody can be
// notified, and it would take up the ring for ever. A message that is not found
// was dropped by a person.
func (d *Dispatcher) unreadable(q *queue.Queue, ticket queue.Ticket, err error) {
	if errors.Is(err, spool.ErrNotFound) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.backlog.ClearAccount(ticket.ID)
		return
	}
	d.journal.Damaged(uint64(ticket.ID), "", err)
	d.remove(q, ticket, envelope.Envelope{})
}

// damaged gives up a message whose content can no longer be read from flash,
// and notifies its sender.
func (d *Dispatcher) damaged(q *queue.Queue, ticket queue.Ticket, dl *delivery, err error) {
	if errors.Is(err, spool.ErrNotFound) {
		return
	}
	d.journal.Damaged(uint64(ticket.ID), dl.envelope.ID, err)
	dl.err, dl.result.Answers = err, nil
	d.reportDamage(q, ticket, dl)
}

// reportDamage notifies the sender, now or when there is room for it. The
// message is removed in any case: it can no longer be read, and a full ring
// cannot move on while it is there. Its envelope stays in memory meanwhile.
func (d *Dispatcher) reportDamage(q *queue.Queue, ticket queue.Ticket, dl *delivery) {
	reported := d.bounce(q, dl, dl.left(), "the message was damaged in the relay's storage, please send it again")
	d.remove(q, ticket, dl.envelope)
	d.mu.Lock()
	defer d.mu.Unlock()
	if reported {
		delete(d.unreported, ticket.ID)
		return
	}
	d.unreported[ticket.ID] = dl
	d.backlog.Postpone(ticket, time.Now().Add(dl.route.Retry.First))
}

// unreportedDamage is a damaged message whose sender is not notified yet; nil
// where that ID is none.
func (d *Dispatcher) unreportedDamage(id queue.ID) *delivery {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.unreported[id]
}
