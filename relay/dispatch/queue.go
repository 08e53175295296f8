package dispatch

import (
	"context"
	"slices"
	"time"

	"sealpost/hal/fault"
	"sealpost/relay/queue"
)

var errNoSpool = fault.New(fault.SpoolOpening, "the spool is not open yet")

// SetQueue sets the queue and schedules the mail of earlier runs in it.
func (d *Dispatcher) SetQueue(q *queue.Queue) {
	memo, tickets := q.Memo(), slices.Collect(q.Tickets())
	d.mu.Lock()
	defer d.mu.Unlock()
	d.queue, d.queueErr = q, nil
	d.restoreMemo(memo, time.Now())
	for _, t := range tickets {
		d.backlog.Push(t)
	}
	d.endQueueWait()
	d.kick()
}

// SetQueuePending states that the spool is still being created or opened;
// reason is shown in the status. Clients whose mail must be queued wait for it,
// at most as long as an attempt may take. New starts in this state.
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

// SetQueueError states why there is no queue. Clients whose mail cannot be sent
// at once, and those that wait for the queue, get 451 with the reason.
func (d *Dispatcher) SetQueueError(reason error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.queueErr = reason
	d.endQueueWait()
}

// endQueueWait ends the wait of clients for the queue. The caller holds mu.
func (d *Dispatcher) endQueueWait() {
	if d.queuePending != nil {
		close(d.queuePending)
		d.queuePending = nil
	}
}

// Queue returns the queue, or nil and the reason why there is none.
func (d *Dispatcher) Queue() (*queue.Queue, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.queue, d.queueErr
}

// awaitQueue returns Queue, but waits until deadline, the end of ctx or Stop
// while the queue is pending.
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

// Failed returns the fault of the queue's flash, after which the box must
// restart, or nil.
func (d *Dispatcher) Failed() error {
	q, _ := d.Queue()
	if q == nil {
		return nil
	}
	return q.Fault()
}
