package dispatch

import (
	"time"

	"sealpost/relay/dispatch/fairqueue"
	"sealpost/relay/queue"
)

// kick makes run check again which attempts may start.
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

// start begins every attempt that may begin now. It returns how long run may
// sleep unless woken; more is false after Stop.
func (d *Dispatcher) start(now time.Time) (wait time.Duration, more bool) {
	const maxWait = time.Minute
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopping {
		return 0, false
	}
	d.backlog.Advance(now)
	r := d.route
	for len(d.active) < r.throttle.Slots(now) {
		if !r.breaker.Allows(now) {
			return r.breaker.RetryAfter(now, maxWait), true
		}
		a := d.next(r, now)
		if a == nil {
			break
		}
		d.begin(a)
	}
	wait = maxWait
	if retryAfter := r.throttle.RetryAfter(now); retryAfter > 0 {
		wait = min(wait, retryAfter)
	}
	if due, found := d.backlog.NextDue(); found {
		wait = min(wait, max(due.Sub(now), 0)+time.Millisecond)
	}
	return wait, true
}

// next picks the next attempt of a route, live mail and the backlog in turn, or
// nil if nothing may be sent. The caller holds mu.
func (d *Dispatcher) next(r *Route, now time.Time) *attempt {
	d.turn++
	pick := []func(*Route, time.Time) *attempt{d.nextQueued, d.nextLive}
	if d.turn%2 == 0 {
		pick[0], pick[1] = pick[1], pick[0]
	}
	if a := pick[0](r, now); a != nil {
		return a
	}
	return pick[1](r, now)
}

func (d *Dispatcher) nextLive(r *Route, now time.Time) *attempt {
	m, found := d.live.Pop(func(m *message) bool { return m.route == r && r.throttle.Account(m.account, now).Allows(now) })
	if !found {
		return nil
	}
	return &attempt{begun: now, route: r, account: r.throttle.Account(m.account, now), message: m, large: m.envelope.Size >= fairqueue.LargeSize}
}

// nextQueued reserves one connection for small mail, if there is more than one.
func (d *Dispatcher) nextQueued(r *Route, now time.Time) *attempt {
	largeActive := 0
	for a := range d.active {
		if a.large {
			largeActive++
		}
	}
	// Two of eight turns begin with large mail.
	const turns, largeTurns = 8, 2
	allowed := func(t queue.Ticket) bool { return r.throttle.Account(d.backlog.Account(t.ID), now).Allows(now) }
	t, found := d.backlog.Pop(allowed, largeActive < max(1, r.throttle.Slots(now)-1), d.turn%turns < largeTurns)
	if !found {
		return nil
	}
	return &attempt{begun: now, route: r, account: r.throttle.Account(d.backlog.Account(t.ID), now), ticket: t, large: t.Size >= fairqueue.LargeSize}
}

// begin starts an attempt. While a breaker holds mail back, the attempt is its
// probe and no other is started. The caller holds mu.
func (d *Dispatcher) begin(a *attempt) {
	a.route.breaker.Begin(a)
	a.account.Breaker.Begin(a)
	a.account.Begin()
	d.active[a] = struct{}{}
	if a.message != nil {
		a.message.started = true
		a.message.use()
	}
	d.running.Go(func() {
		d.deliver(a)
		d.end(a)
		if a.message != nil {
			a.message.release()
		}
	})
}

// end removes an attempt and frees its slot. Calling it again does nothing.
func (d *Dispatcher) end(a *attempt) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, active := d.active[a]; !active {
		return
	}
	delete(d.active, a)
	if a.notOffered {
		a.account.Cancel()
	} else {
		a.account.End(time.Now())
	}
	a.route.breaker.End(a)
	a.account.Breaker.End(a)
	d.kick()
}

// releaseWaiting ends the wait of the matching live messages that have not
// started, so that they are queued. The caller holds mu.
func (d *Dispatcher) releaseWaiting(match func(*message) bool) {
	for m, found := d.live.Pop(match); found; m, found = d.live.Pop(match) {
		m.stopWaiting()
	}
}

// schedule puts a queued message on the schedule; account is empty if unknown.
func (d *Dispatcher) schedule(t queue.Ticket, account string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.backlog.SetAccount(t.ID, account)
	d.backlog.Push(t)
	if d.route.breaker.Allows(time.Now()) {
		d.kick()
	}
}

func (d *Dispatcher) postpone(t queue.Ticket, due time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.backlog.Postpone(t, due)
}
