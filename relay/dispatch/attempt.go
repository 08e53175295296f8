package dispatch

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"sealpost/relay/envelope"
	"sealpost/relay/queue"
	"sealpost/relay/reply"
	"sealpost/relay/report"
	"sealpost/relay/upstream"
)

// attempt is one try to deliver one message: that of a client who waits, or
// one of the queue's.
type attempt struct {
	begun   time.Time
	account *account
	message *message
	ticket  queue.Ticket
	large   bool
	nothing bool // nothing was sent
}

// trial is what an attempt works on.
type trial struct {
	envelope envelope.Envelope
	progress queue.Progress
	owed     []int // recipients, by their place in the envelope
	account  *account
	content  *watched
	verdict  verdict
	own      bool // what stands for the whole upstream is this message's own fault
	result   upstream.Result
	err      error
	begun    time.Time
	lasted   time.Duration
}

func (a *attempt) trial(e envelope.Envelope, p queue.Progress, content *watched) *trial {
	t := &trial{envelope: e, progress: p, content: content, account: a.account}
	for i := range e.Recipients {
		if !p.Settled.Has(i) {
			t.owed = append(t.owed, i)
		}
	}
	return t
}

func (d *Dispatcher) make(a *attempt) {
	if a.message != nil {
		d.tryLive(a)
		return
	}
	d.tryKept(a)
}

// tryLive offers a message whose client waits.
func (d *Dispatcher) tryLive(a *attempt) {
	m := a.message
	t := a.trial(d.redated(m.envelope), queue.Progress{}, &watched{Content: m.memory, moved: &m.moved})
	d.try(t, func(answers []reply.Reply) bool { return d.judge(m, answers) })
	a.nothing = t.unoffered()
	d.settleLive(m, t)
}

// judge says whether content is sent. Where only some were accepted, the
// message must be safe first: the others are still owed it, or an explanation.
func (d *Dispatcher) judge(m *message, answers []reply.Reply) bool {
	refused := func(answer reply.Reply) bool { return !answer.Positive() }
	if some := anyAccepted(answers); !some || !slices.ContainsFunc(answers, refused) {
		return some
	}
	q, _ := d.Queue()
	return m.keep(q) == nil
}

// tryKept tries a message of the queue.
func (d *Dispatcher) tryKept(a *attempt) {
	q, _ := d.Queue()
	if t := d.untoldDamage(a.ticket.ID); t != nil {
		a.nothing = true
		d.tellDamage(q, a.ticket, t)
		return
	}
	e, progress, err := q.Load(a.ticket.ID)
	if err != nil {
		a.nothing = true
		d.unreadable(q, a.ticket, err)
		return
	}
	now := time.Now()
	if due := d.due(q, progress, now); due.After(now) {
		a.nothing = true
		d.postpone(a.ticket, due)
		return
	}
	if !d.assign(a, e) {
		return
	}
	t := a.trial(d.redated(e), progress, &watched{Content: q.Content(a.ticket.ID, e.Size), moved: new(atomic.Int64)})
	d.try(t, anyAccepted)
	a.nothing = t.unoffered()
	d.settleKept(q, a.ticket, t)
}

// due is when a message of the queue may be tried. A time that was noted by a
// clock set wrong does not count, and later none that is set counts any more.
func (d *Dispatcher) due(q *queue.Queue, p queue.Progress, now time.Time) time.Time {
	if q.Fault() != nil {
		// A delivery that cannot be recorded would be made again after the restart.
		return now.Add(d.config.Retry.First)
	}
	if pause := p.Next.Sub(now); pause < 2*d.config.Retry.Longest {
		return now.Add(pause)
	}
	return now
}

// assign has an attempt count against the account that is known only now that
// the message was read. It is false where that must wait: the ticket is then
// back on the schedule.
func (d *Dispatcher) assign(a *attempt, e envelope.Envelope) bool {
	name := d.upstream.Account(e)
	if name == "" {
		return true
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.backlog.own(a.ticket.ID, name)
	now := time.Now()
	own := d.ledger.of(name, now)
	if own == a.account {
		return true
	}
	if !own.may(now) {
		a.nothing = true
		d.backlog.putBack(a.ticket, true)
		return false
	}
	a.account.notSent()
	a.account = own
	own.gate.enter(a)
	own.began()
	return true
}

func anyAccepted(answers []reply.Reply) bool {
	return slices.ContainsFunc(answers, reply.Reply.Positive)
}

// slowest is the rate, in octets a second, that an attempt must keep up.
const slowest = 4 << 10

// try makes the attempt and draws its lessons for the upstream as a whole.
func (d *Dispatcher) try(t *trial, judge func([]reply.Reply) bool) {
	t.begun = time.Now()
	allowed := d.config.Timeout + time.Duration(t.envelope.Size/slowest)*time.Second
	ctx, cancel := context.WithTimeout(d.context, allowed)
	defer cancel()
	e := t.envelope
	e.Recipients = nil
	for _, i := range t.owed {
		e.Recipients = append(e.Recipients, t.envelope.Recipients[i])
	}
	d.count(t.account, t.begun, len(e.Recipients))
	t.result, t.err = d.upstream.Deliver(ctx, e, t.content, judge)
	t.lasted = time.Since(t.begun)
	if t.unoffered() {
		d.uncount(t.account, t.begun, len(e.Recipients))
	}
	if t.err != nil {
		d.unanswered(t)
		return
	}
	for i, answer := range t.result.Answers {
		d.journal.Answered(e.ID, e.Recipients[i], answer)
	}
	t.verdict = read(t.result)
	d.answered(t)
}

// count enters an attempt's recipients in the ledger.
func (d *Dispatcher) count(a *account, now time.Time, recipients int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a.addressed(now, recipients)
	if d.queue != nil && d.ledger.due() {
		_ = d.queue.SetMemo(d.ledger.save(now))
	}
}

// uncount takes them out again: they were named to nobody.
func (d *Dispatcher) uncount(a *account, at time.Time, recipients int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a.notAddressed(at, recipients)
}

// unanswered draws the lesson of an attempt that got no answer that counts.
func (d *Dispatcher) unanswered(t *trial) {
	if t.content.broken() != nil || d.context.Err() != nil {
		return
	}
	kind, scope := unreachable, report.Whole
	u := (*upstream.Unavailable)(nil)
	if errors.As(t.err, &u) && u.Configuration {
		kind = report.Configuration
	}
	if u != nil && u.Account {
		scope = report.Account
	}
	if reading, known := t.denial(); known {
		kind, scope = reading.Kind, max(scope, reading.Scope)
	}
	g := d.gateOf(t, scope)
	if t.own = (t.ready() || scope == report.Account) && d.ownFault(t, g); !t.own {
		d.shut(t, g, kind, t.words(), t.answer())
	}
}

// answer is the one by which the far side would not go on at all, if any.
func (t *trial) answer() reply.Reply {
	if u := (*upstream.Unavailable)(nil); errors.As(t.err, &u) {
		return u.Answer
	}
	return reply.Reply{}
}

// denial is what that answer means, where it is known and not about a message.
func (t *trial) denial() (report.Reading, bool) {
	reading, known := report.Read(t.answer())
	return reading, known && reading.Kind != report.Message
}

// gateOf is the gate that a fault of that scope closes.
func (d *Dispatcher) gateOf(t *trial, s report.Scope) *gate {
	if s == report.Account && t.account.name != "" {
		return &t.account.gate
	}
	return &d.gate
}

// ready tells of an attempt without an answer whether the far side broke off
// over this message.
func (t *trial) ready() bool {
	u := (*upstream.Unavailable)(nil)
	return errors.As(t.err, &u) && u.Ready
}

// unoffered tells that the far side never heard of the message.
func (t *trial) unoffered() bool { return t.err != nil && !t.ready() }

// answered draws the lesson of the far side's answers.
func (d *Dispatcher) answered(t *trial) {
	v := &t.verdict
	if v.hold != nil {
		g := d.gateOf(t, v.hold.Scope)
		fixed := v.hold.Kind == report.Configuration || v.hold.Kind == report.Blocked
		if t.own = fixed && d.ownFault(t, g); !t.own {
			d.shut(t, g, v.hold.Kind, v.holdWords(), v.held)
			return
		}
	}
	taken := v.count(delivered) > 0
	d.mu.Lock()
	opened, ownOpened := d.gate.passed(taken), t.account.gate.passed(taken)
	d.mu.Unlock()
	if opened {
		d.journal.UpstreamResumed("")
	}
	if ownOpened {
		d.journal.UpstreamResumed(t.account.name)
	}
}

// ownFault tells whether what would close the gate is the message's own fault.
func (d *Dispatcher) ownFault(t *trial, g *gate) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if t.envelope.Sender == "" && t.envelope.Report {
		// Only the certificate's own domain vouches for the null reverse-path.
		return !g.closed()
	}
	return g.blames(t.envelope.ID)
}

// shut holds the mail of a gate back for a while, and learns from the answer.
func (d *Dispatcher) shut(t *trial, g *gate, kind report.Kind, words string, answer reply.Reply) {
	const tooManyConnections = 432
	d.mu.Lock()
	if d.queue == nil {
		// Nothing can be held, so each client's message is a trial of its own.
		d.mu.Unlock()
		return
	}
	now := time.Now()
	switch {
	case answer.Code == tooManyConnections:
		t.account.tooMany(now)
	case kind == report.WaitLong:
		t.account.throttled(now)
	}
	news := g.shut(t.begun, now, kind, words)
	until, resumed, account := g.until, false, ""
	if g != &d.gate {
		// Who says that of one account takes the others' mail.
		resumed, account = d.gate.open(), t.account.name
	}
	d.releaseWaiting(func(m *message) bool { return account == "" || m.account == account })
	d.mu.Unlock()
	if resumed {
		d.journal.UpstreamResumed("")
	}
	if news {
		d.journal.UpstreamHeld(account, string(kind), words, until)
	}
}
