// Package dispatch decides what becomes of a message that a client has sent in
// full, and when.
//
// It works by cut-through: a message is offered to the upstream while the
// client waits. Where that takes too long or the upstream takes no mail, the
// message is committed to the queue, the client hears 250, and delivery is
// tried again until the message is delivered, refused, or too old. The package
// knows replies and what follows from them; it must not know listeners, TLS,
// keys or how the queue lies on flash.
//
// # Locks
//
// There are two mutexes. Dispatcher.mu guards the schedule (the live queue, the
// backlog, the active attempts), the routes with their breakers and throttles,
// which have no lock of their own, and which queue there is. message.mu guards
// what has become of one client's message: its place in the queue and the
// client's answer. Dispatcher.mu may be taken while message.mu is held, never
// the other way round, and two messages are never locked at once. While
// Dispatcher.mu is held nothing is read from or written to flash, no upstream
// and no queue is called, nothing is journalled and no other mutex is taken, as
// every client's answer waits for it. message.mu is held while that one message
// is committed to flash and while the journal records its client's answer.
package dispatch

import (
	"context"
	"errors"
	"sync"
	"time"

	"sealpost/relay/body"
	"sealpost/relay/dispatch/fairqueue"
	"sealpost/relay/journal"
	"sealpost/relay/queue"
)

// Config is what a dispatcher needs to know beside its route.
type Config struct {
	ClientWait time.Duration // how long a client waits for the upstream's reply
	Timeout    time.Duration // of an attempt, beside the time that its octets take
	Memory     *body.Budget  // for messages in flight
}

// Dispatcher sends messages over its route, now or later. It is safe for
// concurrent use.
type Dispatcher struct {
	config  Config
	route   *Route
	journal *journal.Journal
	wake    chan struct{}
	context context.Context // of the attempts
	cancel  context.CancelFunc
	running sync.WaitGroup
	setMemo func(*queue.Queue, []byte) error

	mu           sync.Mutex
	queue        *queue.Queue
	queueErr     error         // why there is none
	queuePending chan struct{} // closed when it is known whether there will be one; nil from then on
	live         *fairqueue.FairQueue[*message]
	backlog      *fairqueue.Backlog
	active       map[*attempt]struct{}
	unreported   map[queue.ID]*delivery // damaged messages whose senders are not notified yet
	turn         int                    // of live mail and the backlog
	clockUnknown bool
	clockSet     time.Time // since when the clock can be relied on
	savingMemo   bool
	stopping     bool
}

// New returns a dispatcher that sends over the route at once, and whose clients
// wait for SetQueue or SetQueueError where their mail must be kept.
func New(config Config, route Route, j *journal.Journal) *Dispatcher {
	d := &Dispatcher{config: config, route: route.start(), journal: j,
		wake:         make(chan struct{}, 1),
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

// Stop begins no further attempt. Messages whose clients wait for one are kept
// in the queue at once.
func (d *Dispatcher) Stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stopping = true
	d.endQueueWait()
	d.releaseWaiting(func(*message) bool { return true })
	for a := range d.active {
		if a.message != nil {
			a.message.stopWaiting()
		}
	}
}

// Close waits for the attempts under way, cancels them when ctx ends, and saves
// what must outlive a restart.
func (d *Dispatcher) Close(ctx context.Context) error {
	d.Stop()
	stop := context.AfterFunc(ctx, d.cancel)
	d.kick()
	d.running.Wait()
	stop()
	d.cancel()
	d.mu.Lock()
	q, text := d.queue, []byte(nil)
	if d.route.throttle.MemoNeeded() {
		text = d.route.throttle.Memo(time.Now())
	}
	d.mu.Unlock()
	if q == nil || text == nil {
		return nil
	}
	return d.setMemo(q, text)
}

var errStopping = errors.New("the relay is stopping")
