package dispatch

import (
	"errors"
	"slices"

	"sealpost/relay/queue"
	"sealpost/relay/reply"
	"sealpost/relay/spool"
)

// Before content is sent over one of several routes, its message is bound to the route:
// if no reply comes, the server may have the message, and another route would send it
// again. Progress.Route says so in the spool, message.bound until the message is queued.
// With one route, nothing is recorded.

// bindQueued binds a queued message to the delivery's route, durably. It returns false
// if the content must not be sent.
func (d *Dispatcher) bindQueued(q *queue.Queue, id queue.ID, dl *delivery, replies []reply.Reply) bool {
	if dl.route.only || dl.stored == dl.route.Name {
		dl.addSent(replies)
		return true
	}
	dl.progress.Route, dl.stored = dl.route.Name, dl.route.Name
	err := q.SaveNow(d.context, id, dl.progress)
	// A full spool has room again only once mail is sent; the note follows then.
	if err == nil || errors.Is(err, spool.ErrFull) || errors.Is(err, spool.ErrNotFound) {
		dl.addSent(replies)
		return true
	}
	d.journal.SpoolFault(err)
	return false
}

// bindLive binds a live message to the delivery's route. If others than all recipients
// were accepted, the message is queued with that, before its content is sent.
func (d *Dispatcher) bindLive(m *message, dl *delivery, replies []reply.Reply) bool {
	q, _ := d.Queue()
	if m.bind(dl.route.label()) {
		return d.bindQueued(q, m.ticket.ID, dl, replies)
	}
	if slices.ContainsFunc(replies, func(r reply.Reply) bool { return !r.Positive() }) && m.enqueue(q) != nil {
		return false
	}
	dl.progress.Route, dl.stored = dl.route.label(), dl.route.label()
	dl.addSent(replies)
	return true
}

// release ends the binding after a delivery, unless the server may have the message for
// some recipient without having replied: it did not reply to the content now, or did not
// then and has neither replied to it nor refused the recipient since.
func (dl *delivery) release() {
	if !dl.isUnanswered() && (!dl.wasBound || dl.isAnswered()) {
		dl.progress.Route = ""
	}
}

// isUnanswered reports whether content was sent in this delivery and got no reply.
func (dl *delivery) isUnanswered() bool {
	if dl.err == nil {
		return slices.Contains(dl.result.Unanswered, true)
	}
	u := dl.unavailable()
	return dl.sent != nil && (u == nil || u.Unanswered)
}

// isAnswered reports whether the server replied to the content for each recipient, or
// refused the recipient for good.
func (dl *delivery) isAnswered() bool {
	if dl.err != nil {
		return false
	}
	for n, r := range dl.result.Replies {
		if !r.Permanent() && !dl.sentTo(n) {
			return false
		}
	}
	return true
}

// sentTo reports whether the content was sent to the n-th pending recipient.
func (dl *delivery) sentTo(n int) bool { return n < len(dl.sent) && dl.sent[n] }

// addSent records that the content is sent to the recipients with a 2yz reply.
func (dl *delivery) addSent(replies []reply.Reply) {
	if dl.sent == nil {
		dl.sent = make([]bool, len(replies))
	}
	for n, r := range replies {
		dl.sent[n] = dl.sent[n] || r.Positive()
	}
}
