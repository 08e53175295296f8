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
	t := &delivery{envelope: e, progress: p, content: content, route: a.route, account: a.account}
	for i := range e.Recipients {
		if !p.Settled.Has(i) {
			t.pending = append(t.pending, i)
		}
	}
	return t
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
	t := a.delivery(d.withTime(m.envelope), queue.Progress{}, &trackedContent{Content: m.memory, lastRead: &m.lastRead})
	d.send(t, func(answers []reply.Reply) bool {
		if !anyPositive(answers) {
			return false
		}
		if !slices.ContainsFunc(answers, func(answer reply.Reply) bool { return !answer.Positive() }) {
			return true
		}
		q, _ := d.Queue()
		return m.keep(q) == nil
	})
	a.unused = t.neverOffered()
	d.finishLive(a, t)
}

func anyPositive(answers []reply.Reply) bool {
	return slices.ContainsFunc(answers, reply.Reply.Positive)
}

// deliverQueued sends a message of the queue, unless it has to wait after all.
func (d *Dispatcher) deliverQueued(a *attempt) {
	q, _ := d.Queue()
	a.unused = true
	if t := d.unreportedDamage(a.ticket.ID); t != nil {
		d.reportDamage(q, a.ticket, t)
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
	t := a.delivery(d.withTime(e), progress, &trackedContent{Content: q.Content(a.ticket.ID, e.Size), lastRead: new(atomic.Int64)})
	d.send(t, anyPositive)
	a.unused = t.neverOffered()
	d.finishQueued(q, a.ticket, t)
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
func (d *Dispatcher) send(t *delivery, shouldSend func([]reply.Reply) bool) {
	// A server that takes less is too slow.
	const octetsPerSecond = 4 << 10
	t.begun = time.Now()
	timeout := d.config.Timeout + time.Duration(t.envelope.Size/octetsPerSecond)*time.Second
	ctx, cancel := context.WithTimeout(d.context, timeout)
	defer cancel()
	e := t.envelope
	e.Recipients = nil
	for _, i := range t.pending {
		e.Recipients = append(e.Recipients, t.envelope.Recipients[i])
	}

	d.mu.Lock()
	t.account.AddRecipients(t.begun, len(e.Recipients))
	d.saveMemoWhenDue(t.begun)
	d.mu.Unlock()
	t.result, t.err = t.route.Upstream.Deliver(ctx, e, t.content, shouldSend)
	t.took = time.Since(t.begun)
	if t.neverOffered() {
		d.mu.Lock()
		t.account.SubtractRecipients(t.begun, len(e.Recipients))
		d.mu.Unlock()
	}
	if t.err != nil {
		d.updateAfterFailure(t)
		return
	}
	for i, answer := range t.result.Answers {
		d.journal.Answered(e.ID, e.Recipients[i], answer)
	}
	t.verdict = t.route.verdict(t.result)
	d.updateAfterReplies(t)
}

// unavailable is the error of a delivery without a usable reply; nil where it is
// another.
func (t *delivery) unavailable() *upstream.Unavailable {
	u := (*upstream.Unavailable)(nil)
	errors.As(t.err, &u)
	return u
}

// refusal is the reply by which the server would not go on at all; zero where
// there is none.
func (t *delivery) refusal() reply.Reply {
	if u := t.unavailable(); u != nil {
		return u.Answer
	}
	return reply.Reply{}
}

// brokeOff reports whether the server broke off over this message, without a
// usable reply.
func (t *delivery) brokeOff() bool {
	u := t.unavailable()
	return u != nil && u.DuringTransaction
}

// neverOffered reports whether the server never heard of the message.
func (t *delivery) neverOffered() bool { return t.err != nil && !t.brokeOff() }
