package dispatch

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"sealpost/relay/dispatch/throttle"
	"sealpost/relay/envelope"
	"sealpost/relay/queue"
	"sealpost/relay/reply"
	"sealpost/relay/upstream"
)

// attempt is a place on the schedule: one try to deliver one message, whose
// client waits or which lies in the queue.
type attempt struct {
	begun   time.Time
	route   *Route
	account *throttle.Account
	message *message     // nil for one of the queue
	ticket  queue.Ticket // for one of the queue
	large   bool
	unused  bool // the server never heard of the message
}

// delivery is what an attempt sends: one message over one route, counted
// against one account, and then the result.
type delivery struct {
	envelope envelope.Envelope
	progress queue.Progress
	pending  []int // recipients to send to, by their place in the envelope
	route    *Route
	account  *throttle.Account
	content  *trackedContent

	begun        time.Time
	took         time.Duration
	result       upstream.Result // where err is nil
	err          error           // no usable reply
	verdict      verdict         // where err is nil
	messageFault bool            // what would hold all mail back is this message's own fault
}

func (a *attempt) delivery(e envelope.Envelope, p queue.Progress, content *trackedContent) *delivery {
	dl := &delivery{envelope: e, progress: p, content: content, route: a.route, account: a.account}
	for i := range e.Recipients {
		if !p.Settled.Has(i) {
			dl.pending = append(dl.pending, i)
		}
	}
	return dl
}

// deliver makes an attempt and does what follows from its result.
func (d *Dispatcher) deliver(a *attempt) {
	if a.message != nil {
		d.deliverLive(a)
		return
	}
	d.deliverQueued(a)
}

// deliverLive sends a message whose client waits. Where the server accepts only
// some recipients, the content is sent once the message lies in the queue: the
// others must be tried again, or their sender notified.
func (d *Dispatcher) deliverLive(a *attempt) {
	m := a.message
	dl := a.delivery(d.withTime(m.envelope), queue.Progress{}, &trackedContent{Content: m.memory, lastRead: &m.lastRead})
	d.send(dl, func(answers []reply.Reply) bool {
		if !anyPositive(answers) {
			return false
		}
		if !slices.ContainsFunc(answers, func(answer reply.Reply) bool { return !answer.Positive() }) {
			return true
		}
		q, _ := d.Queue()
		return m.keep(q) == nil
	})
	a.unused = dl.neverOffered()
	d.finishLive(a, dl)
}

func anyPositive(answers []reply.Reply) bool {
	return slices.ContainsFunc(answers, reply.Reply.Positive)
}

// deliverQueued sends a message of the queue, unless it has to wait after all.
func (d *Dispatcher) deliverQueued(a *attempt) {
	q, _ := d.Queue()
	a.unused = true
	if dl := d.unreportedDamage(a.ticket.ID); dl != nil {
		d.reportDamage(q, a.ticket, dl)
		return
	}
	e, progress, err := q.Load(a.ticket.ID)
	if err != nil {
		d.unreadable(q, a.ticket, err)
		return
	}
	now := time.Now()
	if due := a.route.due(q, progress, now); due.After(now) {
		d.postpone(a.ticket, due)
		return
	}
	if !d.assign(a, e) {
		return
	}
	dl := a.delivery(d.withTime(e), progress, &trackedContent{Content: q.Content(a.ticket.ID, e.Size), lastRead: new(atomic.Int64)})
	d.send(dl, anyPositive)
	a.unused = dl.neverOffered()
	d.finishQueued(q, a.ticket, dl)
}

// due is when a message of the queue may be tried. A time that was noted by a
// clock set wrong does not count.
func (r *Route) due(q *queue.Queue, p queue.Progress, now time.Time) time.Time {
	if q.Fault() != nil {
		// A delivery that cannot be recorded would be repeated after the restart.
		return now.Add(r.Retry.First)
	}
	if pause := p.Next.Sub(now); pause < 2*r.Retry.Longest {
		return now.Add(pause)
	}
	return now
}

// assign counts an attempt against the account that is known only now that the
// message was read. It is false where the message must wait for that account:
// it is then back on the schedule.
func (d *Dispatcher) assign(a *attempt, e envelope.Envelope) bool {
	name := a.route.Upstream.Account(e)
	if name == "" {
		return true
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.backlog.SetAccount(a.ticket.ID, name)
	now := time.Now()
	own := a.route.throttle.Account(name, now)
	if own == a.account {
		return true
	}
	if !own.Allows(now) {
		d.backlog.PushFront(a.ticket)
		return false
	}
	a.account.Cancel()
	a.account = own
	own.Breaker.Begin(a)
	own.Begin()
	return true
}

// send makes the delivery over its route and updates throttle and breakers by
// the result.
func (d *Dispatcher) send(dl *delivery, shouldSend func([]reply.Reply) bool) {
	// A server that takes less is too slow.
	const octetsPerSecond = 4 << 10
	dl.begun = time.Now()
	timeout := d.config.Timeout + time.Duration(dl.envelope.Size/octetsPerSecond)*time.Second
	ctx, cancel := context.WithTimeout(d.context, timeout)
	defer cancel()
	e := dl.envelope
	e.Recipients = nil
	for _, i := range dl.pending {
		e.Recipients = append(e.Recipients, dl.envelope.Recipients[i])
	}

	d.mu.Lock()
	dl.account.AddRecipients(dl.begun, len(e.Recipients))
	d.saveMemoWhenDue(dl.begun)
	d.mu.Unlock()
	dl.result, dl.err = dl.route.Upstream.Deliver(ctx, e, dl.content, shouldSend)
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
	for i, answer := range dl.result.Answers {
		d.journal.Answered(e.ID, e.Recipients[i], answer)
	}
	dl.verdict = dl.route.verdict(dl.result)
	d.updateAfterReplies(dl)
}

// unavailable is the error of a delivery without a usable reply; nil where it is
// another.
func (dl *delivery) unavailable() *upstream.Unavailable {
	u := (*upstream.Unavailable)(nil)
	errors.As(dl.err, &u)
	return u
}

// refusal is the reply by which the server would not go on at all; zero where
// there is none.
func (dl *delivery) refusal() reply.Reply {
	if u := dl.unavailable(); u != nil {
		return u.Answer
	}
	return reply.Reply{}
}

// brokeOff reports whether the server broke off over this message, without a
// usable reply.
func (dl *delivery) brokeOff() bool {
	u := dl.unavailable()
	return u != nil && u.DuringTransaction
}

// neverOffered reports whether the server never heard of the message.
func (dl *delivery) neverOffered() bool { return dl.err != nil && !dl.brokeOff() }
