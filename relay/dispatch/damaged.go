package dispatch

import (
	"errors"
	"time"

	"sealpost/relay/envelope"
	"sealpost/relay/queue"
	"sealpost/relay/spool"
)

// removeUnreadable removes a message whose envelope cannot be read: its sender
// is unknown, and it would occupy the ring forever. A message that is not found
// was dropped by an operator.
func (d *Dispatcher) removeUnreadable(q *queue.Queue, ticket queue.Ticket, err error) {
	if errors.Is(err, spool.ErrNotFound) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.backlog.Forget(ticket.ID)
		return
	}
	d.journal.Damaged(uint64(ticket.ID), "", err)
	d.remove(q, ticket, envelope.Envelope{})
}

// giveUpDamaged gives up a message whose content can no longer be read from
// flash, and notifies its sender.
func (d *Dispatcher) giveUpDamaged(q *queue.Queue, ticket queue.Ticket, dl *delivery, err error) {
	if errors.Is(err, spool.ErrNotFound) {
		return
	}
	d.journal.Damaged(uint64(ticket.ID), dl.envelope.ID, err)
	dl.err, dl.result.Replies = err, nil
	d.reportDamage(q, ticket, dl)
}

// reportDamage notifies the sender, now or once the queue has room. The message
// is removed at once, because a full ring cannot advance past it; its envelope
// stays in memory.
func (d *Dispatcher) reportDamage(q *queue.Queue, ticket queue.Ticket, dl *delivery) {
	reported := d.notifyOfFailure(q, dl, dl.unsettled(), "the message was damaged in the relay's storage, please send it again")
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

// unreportedDamage returns the delivery of a damaged message whose sender has
// not been notified yet, or nil.
func (d *Dispatcher) unreportedDamage(id queue.ID) *delivery {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.unreported[id]
}
