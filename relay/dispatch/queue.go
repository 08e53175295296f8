package dispatch

import (
	"context"
	"slices"
	"time"

	"sealpost/hal/fault"
	"sealpost/relay/queue"
)

var errNoSpool = fault.New(fault.SpoolOpening, "the spool is not open yet")

// SetQueue gives the dispatcher its queue, with the mail of earlier runs in it.
func (d *Dispatcher) SetQueue(q *queue.Queue) {
	memo, tickets := q.Memo(), slices.Collect(q.Tickets())
	d.mu.Lock()
	defer d.mu.Unlock()
	d.queue, d.queueErr = q, nil
	d.route.throttle.Restore(memo, time.Now())
	for _, t := range tickets {
		d.backlog.Push(t)
	}
	d.endQueueWait()
	d.kick()
}

// SetQueuePending says that the spool is still being made or opened, and why
// that takes time: clients whose mail must be kept wait for it, for as long as
// an attempt may take. It is so from New on until SetQueue or SetQueueError.
func (d *Dispatcher) SetQueuePending(reason error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.queue != nil || d.stopping {
		return
	}
	d.queueErr = reason
	if d.queuePending == nil {
		d.queuePending = make(chan struct{})
	}
}

// SetQueueError says why there is no queue. Clients whose mail cannot be sent
// at once hear 451 with the reason; those that wait for the queue hear it now.
func (d *Dispatcher) SetQueueError(reason error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.queueErr = reason
	d.endQueueWait()
}

// endQueueWait lets the clients go that wait for the queue. The caller holds mu.
func (d *Dispatcher) endQueueWait() {
	if d.queuePending != nil {
		close(d.queuePending)
		d.queuePending = nil
	}
}

// Queue is the mail that is kept; nil with the reason where there is none.
func (d *Dispatcher) Queue() (*queue.Queue, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.queue, d.queueErr
}

// awaitQueue is Queue, but waits for it while it is still being made or opened:
// until the deadline, the end of ctx or Stop.
func (d *Dispatcher) awaitQueue(ctx context.Context, deadline time.Time) (*queue.Queue, error) {
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	for {
		d.mu.Lock()
		q, reason, pending := d.queue, d.queueErr, d.queuePending
		d.mu.Unlock()
		if pending == nil {
			return q, reason
		}
		select {
		case <-pending:
		case <-timer.C:
			return nil, reason
		case <-ctx.Done():
			return nil, reason
		}
	}
}

// Failed is the fault of the queue's flash, after which the box must restart;
// nil while there is none.
func (d *Dispatcher) Failed() error {
	q, _ := d.Queue()
	if q == nil {
		return nil
	}
	return q.Fault()
}

// saveMemoWhenDue writes the throttle's memo in the background, as no delivery
// may wait for flash to be counted. One writer at a time keeps the memos in
// their order. The caller holds mu.
func (d *Dispatcher) saveMemoWhenDue(now time.Time) {
	t := d.route.throttle
	if d.queue == nil || d.savingMemo || !t.MemoDue() {
		return
	}
	d.savingMemo = true
	q, text := d.queue, t.Memo(now)
	d.running.Go(func() {
		// A failure shows in Failed, or costs counts after a restart.
		_ = d.setMemo(q, text)
		d.mu.Lock()
		defer d.mu.Unlock()
		d.savingMemo = false
		d.saveMemoWhenDue(time.Now())
	})
}
