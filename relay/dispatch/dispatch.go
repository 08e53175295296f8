// Package dispatch decides when a message received from a client is sent, and
// what follows from the result.
//
// It works by cut-through: a message is offered to the upstream while the
// client waits. If that takes too long or the upstream accepts no mail, the
// message is committed to the queue, the client gets 250, and delivery is
// retried until the message is delivered, refused, or too old. The package
// knows replies and what follows from them; it must not know listeners, TLS,
// keys or the layout of the queue on flash.
//
// # Locks
//
// There are two mutexes. Dispatcher.mu guards the schedule (the live queue, the
// backlog, the active attempts), the routes with their breakers and throttles,
// which have no lock of their own, and the queue. message.mu guards the state
// of one client's message: whether it is queued, and the client's reply.
// Dispatcher.mu may be taken while message.mu is held, never the other way
// round, and two messages are never locked at once. While Dispatcher.mu is
// held, flash is neither read nor written, no upstream or queue is called,
// nothing is journalled and no other mutex is taken, because the reply to every
// client waits for it. message.mu is held while that one message is committed
// to flash and while the journal records its client's reply.
package dispatch

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"sealpost/relay/body"
	"sealpost/relay/dispatch/fairqueue"
	"sealpost/relay/journal"
	"sealpost/relay/queue"
)

// Config holds the dispatcher's settings that do not belong to a route.
type Config struct {
	ClientWait time.Duration // how long a client waits for the upstream's reply
	Timeout    time.Duration // of an attempt, in addition to the time for its octets
	Memory     *body.Budget  // for messages in flight
}

// Dispatcher sends messages over its routes, now or later. It is safe for
// concurrent use.
type Dispatcher struct {
	config  Config
	routes  []*Route // in the order of preference
	journal *journal.Journal
	wake    chan struct{}
	context context.Context // of the attempts
	cancel  context.CancelFunc
	running sync.WaitGroup
	// attempts are received by goroutines that have run one and wait for the next.
	attempts chan *attempt
	stopped  chan struct{} // closed by Stop
	setMemo  func(*queue.Queue, []byte) error

	mu           sync.Mutex
	queue        *queue.Queue
	queueErr     error         // why queue is nil
	queuePending chan struct{} // closed when the queue is set or has failed; nil from then on
	live         *fairqueue.FairQueue[*message]
	backlog      *fairqueue.Backlog
	active       map[*attempt]struct{}
	unreported   map[queue.ID]*delivery // damaged messages whose senders have not been notified yet
	turn         int                    // alternates between live mail and the backlog
	clockUnknown bool
	clockSet     time.Time // when the clock became reliable
	savingMemo   bool
	stopping     bool
}

// New returns a dispatcher that sends at once, over the first of the routes that
// accepts mail. There is at least one, and at most fairqueue.MaxRoutes. Clients
// whose mail must be queued wait for SetQueue or SetQueueError.
func New(config Config, routes []Route, j *journal.Journal) *Dispatcher {
	d := &Dispatcher{config: config, routes: start(routes), journal: j,
		wake:         make(chan struct{}, 1),
		attempts:     make(chan *attempt),
		stopped:      make(chan struct{}),
		setMemo:      (*queue.Queue).SetMemo,
		queueErr:     errNoSpool,
		queuePending: make(chan struct{}),
		live:         fairqueue.New[*message](),
		backlog:      fairqueue.NewBacklog(),
		clockSet:     time.Now(),
		active:       make(map[*attempt]struct{}),
		unreported:   make(map[queue.ID]*delivery),
	}
	d.context, d.cancel = context.WithCancel(context.Background())
	d.running.Go(d.run)
	return d
}

// Stop starts no further attempts. Messages whose clients wait are queued at
// once.
func (d *Dispatcher) Stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.stopping {
		close(d.stopped)
	}
	d.stopping = true
	d.endQueueWait()
	d.releaseWaiting(func(*message) bool { return true })
	for a := range d.active {
		if a.message != nil {
			a.message.stopWaiting()
		}
	}
}

// Close waits for active attempts, cancels them when ctx ends, and saves the
// state that must survive a restart.
func (d *Dispatcher) Close(ctx context.Context) error {
	d.Stop()
	stop := context.AfterFunc(ctx, d.cancel)
	d.kick()
	d.running.Wait()
	stop()
	d.cancel()
	d.mu.Lock()
	q, text := d.queue, []byte(nil)
	if slices.ContainsFunc(d.routes, func(r *Route) bool { return r.throttle.MemoNeeded() }) {
		text = d.memo(time.Now())
	}
	d.mu.Unlock()
	if q == nil || text == nil {
		return nil
	}
	return d.setMemo(q, text)
}

var errStopping = errors.New("the relay is stopping")
