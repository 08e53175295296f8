package dispatch

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"sealpost/relay/dispatch/fairqueue"
	"sealpost/relay/dispatch/throttle"
	"sealpost/relay/envelope"
	"sealpost/relay/queue"
	"sealpost/relay/reply"
	"sealpost/relay/upstream"
)

// attempt is one slot of the schedule: one try to deliver one message, either
// live (its client waits) or queued.
type attempt struct {
	begun      time.Time
	route      *Route
	account    *throttle.Account
	message    *message     // nil for a queued message
	ticket     queue.Ticket // for a queued message
	large      bool
	instead    string // why the routes before this one do not take mail
	notOffered bool   // MAIL was never sent for the message
}

// delivery is one message sent over one route, counted against one account, and
// afterwards the result.
type delivery struct {
	envelope envelope.Envelope
	progress queue.Progress
	pending  []int // recipients to send to, as indexes into envelope.Recipients
	route    *Route
	account  *throttle.Account
	to       fairqueue.Assignment
	instead  string // why the routes before this one do not take mail
	content  *trackedContent

	wasBound bool   // an earlier delivery bound the message to the route
	stored   string // Progress.Route in the spool, or about to be there
	sent     []bool // by index into pending: its content was sent in this delivery, or may have been; nil before

	begun        time.Time
	took         time.Duration
	result       upstream.Result // where err is nil
	err          error           // the server gave no usable reply
	evaluation   evaluation      // where err is nil
	messageFault bool            // only this message causes the fault, so the breaker is not tripped
}

func (a *attempt) delivery(e envelope.Envelope, p queue.Progress, to fairqueue.Assignment, content *trackedContent) *delivery {
	dl := &delivery{envelope: a.route.withReversePath(e), progress: p, content: content, route: a.route, account: a.account,
		to: to, instead: a.instead, wasBound: to.Bound != 0 && p.Route != "", stored: p.Route}
	for i := range e.Recipients {
		if !p.Settled.Has(i) {
			dl.pending = append(dl.pending, i)
		}
	}
	return dl
}

// deliver runs an attempt and handles its result.
func (d *Dispatcher) deliver(a *attempt) {
	if a.message != nil {
		d.deliverLive(a)
		return
	}
	d.deliverQueued(a)
}

// deliverLive sends a message whose client waits. If the server accepts only
// some recipients, the message is queued before the content is sent: the other
// recipients are retried, or the sender is notified of them.
func (d *Dispatcher) deliverLive(a *attempt) {
	m := a.message
	dl := a.delivery(d.withReceivedTime(m.envelope), queue.Progress{}, m.to.Free(), &trackedContent{Content: m.memory, lastRead: &m.lastRead})
	d.send(dl, upstream.Transactions{
		ShouldSend: func(replies []reply.Reply) bool { return anyPositive(replies) && d.bindLive(m, dl, replies) },
		Settled: func(replies []reply.Reply) {
			// The message was queued before its first content.
			if ticket, queued := m.inQueue(); queued {
				q, _ := d.Queue()
				d.settle(q, ticket.ID, dl, replies)
			}
		},
	})
	a.notOffered = dl.neverOffered()
	d.finishLive(a, dl)
}

func anyPositive(replies []reply.Reply) bool {
	return slices.ContainsFunc(replies, reply.Reply.Positive)
}

// deliverQueued sends a queued message, unless it is not due or its account
// must wait.
func (d *Dispatcher) deliverQueued(a *attempt) {
	q, _ := d.Queue()
	a.notOffered = true
	if dl := d.unreportedDamage(a.ticket.ID); dl != nil {
		d.reportDamage(q, a.ticket, dl)
		return
	}
	e, progress, err := q.Load(a.ticket.ID)
	if err != nil {
		d.removeUnreadable(q, a.ticket, err)
		return
	}
	now := time.Now()
	if due := a.route.due(q, progress, now); due.After(now) {
		d.postpone(a.ticket, due)
		return
	}
	to, assigned := d.assign(a, e, progress)
	if !assigned {
		return
	}
	dl := a.delivery(d.withReceivedTime(e), progress, to, &trackedContent{Content: q.Content(a.ticket.ID, e.Size), lastRead: new(atomic.Int64)})
	d.send(dl, upstream.Transactions{
		ShouldSend: func(replies []reply.Reply) bool {
			return anyPositive(replies) && d.bindQueued(q, a.ticket.ID, dl, replies)
		},
		Settled: func(replies []reply.Reply) { d.settle(q, a.ticket.ID, dl, replies) },
	})
	a.notOffered = dl.neverOffered()
	d.finishQueued(q, a.ticket, dl)
}

// settle saves which recipients have the message, before the message's next
// transaction begins: a power cut must not repeat this one. A refused recipient
// stays pending until the notification about it is queued.
func (d *Dispatcher) settle(q *queue.Queue, id queue.ID, dl *delivery, replies []reply.Reply) {
	for n, i := range dl.pending {
		if replies[n].Positive() {
			dl.progress.Settled = dl.progress.Settled.Add(i)
		}
	}
	d.saveNow(q, id, dl.progress)
}

// due returns when a queued message may be tried. A time beyond the longest
// delay was stored while the clock was wrong, and is ignored.
func (r *Route) due(q *queue.Queue, p queue.Progress, now time.Time) time.Time {
	if q.Fault() != nil {
		// A delivery that cannot be recorded would be repeated after the restart.
		return now.Add(r.Retry.First)
	}
	if delay := p.Next.Sub(now); delay < 2*r.Retry.Longest {
		return now.Add(delay)
	}
	return now
}

// assign counts the attempt against the message's account, which is known only
// once the envelope was read, as is the route that it is bound to. It returns false if
// the message must wait or take another route; it is then back on the schedule.
func (d *Dispatcher) assign(a *attempt, e envelope.Envelope, p queue.Progress) (to fairqueue.Assignment, assigned bool) {
	to = d.assignment(e)
	to.Bound = d.bound(p.Route)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.backlog.Assign(a.ticket.ID, to)
	now := time.Now()
	account := a.route.accountOf(to, now)
	if !d.prefers(a.route, to, now) || account != a.account && !account.Allows(now) {
		d.backlog.PushFront(a.ticket)
		return to, false
	}
	if account != a.account {
		a.account.Cancel()
		a.account = account
		account.Breaker.Begin(a)
		account.Begin()
	}
	return to, true
}

// send delivers over the route and updates throttle and breakers from the
// result.
func (d *Dispatcher) send(dl *delivery, tx upstream.Transactions) {
	// The timeout is extended for transfers down to this rate.
	const octetsPerSecond = 4 << 10
	dl.begun = time.Now()
	timeout := d.config.Timeout + time.Duration(dl.envelope.Size/octetsPerSecond)*time.Second
	ctx, cancel := context.WithTimeout(d.context, timeout)
	defer cancel()
	e := dl.envelope.To(dl.pending)

	d.mu.Lock()
	dl.account.AddRecipients(dl.begun, len(e.Recipients))
	d.saveMemoWhenDue(dl.begun)
	d.mu.Unlock()
	dl.result, dl.err = dl.route.Upstream.Deliver(ctx, e, dl.content, tx)
	dl.took = time.Since(dl.begun)
	if dl.neverOffered() {
		d.mu.Lock()
		dl.account.SubtractRecipients(dl.begun, len(e.Recipients))
		d.mu.Unlock()
	}
	if dl.err != nil {
		d.updateAfterFailure(dl)
		return
	}
	dl.result.Connection.Route, dl.result.Connection.Instead = dl.route.label(), dl.instead
	dl.evaluation = dl.route.evaluate(dl.result)
	for n := range dl.evaluation.outcomes {
		// A 2yz reply without content is the one to RCPT.
		if dl.evaluation.outcomes[n] == delivered && !dl.sentTo(n) {
			dl.evaluation.outcomes[n] = pending
		}
	}
	for i, rcptReply := range dl.result.Replies {
		// The only recipient's is in the record of the delivery.
		if rcptReply.Code != 0 && (dl.onlyRecipient() == "" || dl.outcome(i) != delivered) {
			d.journal.RecipientReply(e.ID, e.Recipients[i], rcptReply)
		}
	}
	d.updateAfterReplies(dl)
}

// onlyRecipient returns the recipient if the delivery is for one only, else "".
func (dl *delivery) onlyRecipient() envelope.Address {
	if len(dl.pending) != 1 {
		return ""
	}
	return dl.envelope.Recipients[dl.pending[0]]
}

// unavailable returns the error of a delivery without a usable reply, or nil if
// it failed otherwise.
func (dl *delivery) unavailable() *upstream.Unavailable {
	u := (*upstream.Unavailable)(nil)
	errors.As(dl.err, &u)
	return u
}

// rejection returns the reply with which the server rejected the session, or
// the zero Reply.
func (dl *delivery) rejection() reply.Reply {
	if u := dl.unavailable(); u != nil {
		return u.ServerReply
	}
	return reply.Reply{}
}

// lostInTransaction reports whether the connection was lost during this
// message's transaction, without a usable reply.
func (dl *delivery) lostInTransaction() bool {
	u := dl.unavailable()
	return u != nil && u.DuringTransaction
}

// neverOffered reports whether MAIL was never sent for the message.
func (dl *delivery) neverOffered() bool { return dl.err != nil && !dl.lostInTransaction() }
