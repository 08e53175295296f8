// Package dispatch decides what becomes of a message that a client has given
// in full, and when.
//
// It works by cut-through: a message is offered to the upstream while the
// client waits. Where that takes too long or the upstream takes no mail, the
// message is kept in the queue, the client hears 250, and the message is tried
// again until it is delivered, refused, or too old. It knows answers and what
// follows from them; it must not know listeners, TLS, keys or how the queue
// lies on flash.
package dispatch

import (
	"context"
	"errors"
	"sync"
	"time"

	"sealpost/relay/body"
	"sealpost/relay/envelope"
	"sealpost/relay/journal"
	"sealpost/relay/queue"
	"sealpost/relay/reply"
	"sealpost/relay/upstream"
)

// Upstream is a way out of the box. Deliver's judge is asked once every
// recipient was answered, and says whether the content is to be sent.
type Upstream interface {
	// Account names whose limits a message counts against; where the upstream
	// knows only its own it is empty.
	Account(e envelope.Envelope) string
	Deliver(ctx context.Context, e envelope.Envelope, content envelope.Content,
		judge func(answers []reply.Reply) bool) (upstream.Result, error)
}

// Retry says how often a message is tried again.
type Retry struct {
	First   time.Duration // the first pause between two attempts
	Longest time.Duration // to which the pauses grow
	Age     time.Duration // after which a message is given up
	Warning time.Duration // after which its sender hears of the delay
}

// Config is what a dispatcher needs to know.
type Config struct {
	Hold    time.Duration // how long a client waits for the upstream
	Timeout time.Duration // of an attempt, beside the time that its octets take
	Limits  Limits
	Retry   Retry
	Memory  *body.Budget // for messages in flight
	Notify  Notify
}

// Dispatcher hands messages to the upstream, now or later.
type Dispatcher struct {
	config   Config
	upstream Upstream
	journal  *journal.Journal
	wake     chan struct{}
	context  context.Context // of the attempts
	cancel   context.CancelFunc
	running  sync.WaitGroup

	mu       sync.Mutex
	queue    *queue.Queue
	noQueue  error // why there is none
	live     *lane[*message]
	backlog  *backlog
	gate     gate
	ledger   *ledger
	active   map[*attempt]struct{}
	untold   map[queue.ID]*trial // damaged messages whose senders could not be told yet
	turn     int                 // of live mail and the backlog
	clockSet time.Time           // when the clock could be relied on
	stopping bool
}

// New gives a dispatcher that sends, and keeps nothing before it has a queue.
func New(config Config, u Upstream, j *journal.Journal) *Dispatcher {
	d := &Dispatcher{config: config, upstream: u, journal: j,
		wake:     make(chan struct{}, 1),
		noQueue:  errNoSpool,
		live:     newLane[*message](),
		backlog:  newBacklog(),
		gate:     newGate(config.Retry),
		clockSet: time.Now(),
		ledger:   newLedger(config.Limits, config.Retry),
		active:   make(map[*attempt]struct{}),
		untold:   make(map[queue.ID]*trial),
	}
	d.context, d.cancel = context.WithCancel(context.Background())
	d.running.Go(d.run)
	return d
}

// Attach gives the dispatcher its queue, with the mail of earlier runs in it.
func (d *Dispatcher) Attach(q *queue.Queue) {
	d.mu.Lock()
	d.queue, d.noQueue = q, nil
	d.ledger.restore(q.Memo(), time.Now())
	for t := range q.Tickets() {
		d.backlog.push(t)
	}
	d.mu.Unlock()
	d.kick()
}

// Without says why there is no queue, for those whose mail cannot be kept.
func (d *Dispatcher) Without(cause error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.noQueue = cause
}

// Queue is the mail that is kept; nil with the reason where there is none.
func (d *Dispatcher) Queue() (*queue.Queue, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.queue, d.noQueue
}

// Stop begins no further attempt. Those who wait for one have their messages
// kept at once.
func (d *Dispatcher) Stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stopping = true
	d.releaseWaiting(func(*message) bool { return true })
	for a := range d.active {
		if a.message != nil {
			a.message.stopWaiting()
		}
	}
}

// Close ends the attempts under way, those that are not finished when ctx ends
// by force, and saves what must outlive a restart.
func (d *Dispatcher) Close(ctx context.Context) error {
	d.Stop()
	stop := context.AfterFunc(ctx, d.cancel)
	d.kick()
	d.running.Wait()
	stop()
	d.cancel()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.queue == nil || !d.ledger.worthSaving() {
		return nil
	}
	return d.queue.SetMemo(d.ledger.save(time.Now()))
}

func (d *Dispatcher) kick() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// run starts attempts until Stop.
func (d *Dispatcher) run() {
	for {
		wait, more := d.start(time.Now())
		if !more {
			return
		}
		timer := time.NewTimer(wait)
		select {
		case <-d.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// start begins every attempt that may begin now, and tells when to look again.
func (d *Dispatcher) start(now time.Time) (wait time.Duration, more bool) {
	const longest = time.Minute
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopping {
		return 0, false
	}
	d.backlog.wake(now)
	for len(d.active) < d.ledger.slots(now) {
		if !d.gate.ready(now) {
			return d.gate.wait(now, longest), true
		}
		a := d.next(now)
		if a == nil {
			break
		}
		d.begin(a)
	}
	wait = longest
	if pause := d.ledger.relief(now); pause > 0 {
		wait = min(wait, pause)
	}
	if len(d.backlog.later) > 0 {
		wait = min(wait, lookAgain(now, d.backlog.later[0].due, longest))
	}
	return wait, true
}

// begin sets an attempt off. While a gate is closed it is a probe, and nothing
// else goes through beside it. The caller holds mu.
func (d *Dispatcher) begin(a *attempt) {
	d.gate.enter(a)
	a.account.gate.enter(a)
	d.active[a] = struct{}{}
	a.account.began()
	if a.message != nil {
		a.message.started = true
		a.message.use()
	}
	d.running.Go(func() {
		d.make(a)
		d.end(a)
	})
}

// next picks what goes out next: live mail and the backlog in turn. The caller
// holds mu.
func (d *Dispatcher) next(now time.Time) *attempt {
	d.turn++
	if d.turn%2 == 0 {
		if a := d.nextLive(now); a != nil {
			return a
		}
		return d.nextKept(now)
	}
	if a := d.nextKept(now); a != nil {
		return a
	}
	return d.nextLive(now)
}

func (d *Dispatcher) nextLive(now time.Time) *attempt {
	m, some := d.live.pop(func(m *message) bool { return d.ledger.of(m.account, now).may(now) })
	if !some {
		return nil
	}
	return &attempt{begun: now, account: d.ledger.of(m.account, now), message: m, large: m.envelope.Size >= large}
}

// nextKept leaves one connection to small mail, where there is more than one.
func (d *Dispatcher) nextKept(now time.Time) *attempt {
	busy := 0
	for a := range d.active {
		if a.large {
			busy++
		}
	}
	const largeTurn = 8
	may := func(t queue.Ticket) bool { return d.ledger.of(d.backlog.owners[t.ID], now).may(now) }
	t, some := d.backlog.pop(may, busy < max(1, d.ledger.slots(now)-1), d.turn%largeTurn < 2)
	if !some {
		return nil
	}
	return &attempt{begun: now, account: d.ledger.of(d.backlog.owners[t.ID], now), ticket: t, large: t.Size >= large}
}

// end makes room for the next attempt.
func (d *Dispatcher) end(a *attempt) {
	d.mu.Lock()
	delete(d.active, a)
	if a.nothing {
		a.account.notSent()
	} else {
		a.account.ended(time.Now())
	}
	d.gate.leave(a)
	a.account.gate.leave(a)
	d.mu.Unlock()
	if a.message != nil {
		a.message.release()
	}
	d.kick()
}

// releaseWaiting tells the clients' messages that wait for their turn, and are
// meant, to be kept. The caller holds mu.
func (d *Dispatcher) releaseWaiting(meant func(*message) bool) {
	for m, some := d.live.pop(meant); some; m, some = d.live.pop(meant) {
		m.stopWaiting()
	}
}

// Failed is the fault of the queue's flash, after which the box must start
// anew; nil while there is none.
func (d *Dispatcher) Failed() error {
	q, _ := d.Queue()
	if q == nil {
		return nil
	}
	return q.Fault()
}

var errStopping = errors.New("the relay is stopping")
