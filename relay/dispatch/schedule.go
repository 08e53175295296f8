package dispatch

import (
	"cmp"
	"slices"
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
		d.mu.Lock()
		stopping, wait := d.stopping, d.start(time.Now())
		d.mu.Unlock()
		if stopping {
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

// start begins every attempt that may begin now, none after Stop. It returns how long run
// may sleep unless woken. The caller holds mu.
func (d *Dispatcher) start(now time.Time) (wait time.Duration) {
	const maxWait = time.Minute
	if d.stopping {
		return maxWait
	}
	d.backlog.Advance(now)
	wait = maxWait
	for _, r := range d.routes {
		wait = min(wait, d.startOn(r, now, maxWait))
	}
	if due, found := d.backlog.NextDue(); found {
		wait = min(wait, max(due.Sub(now), 0)+time.Millisecond)
	}
	return wait
}

// startOn begins the attempts that may begin now on one route, and returns how long
// until another may, at most longest. The caller holds mu.
func (d *Dispatcher) startOn(r *Route, now time.Time, longest time.Duration) time.Duration {
	for r.active < r.throttle.Slots(now) {
		if !r.breaker.Allows(now) {
			return r.breaker.RetryAfter(now, longest)
		}
		a := d.next(r, now)
		if a == nil {
			break
		}
		d.begin(a)
	}
	if retryAfter := r.throttle.RetryAfter(now); retryAfter > 0 {
		return min(longest, retryAfter)
	}
	return longest
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
	m, found := d.live.Pop(func(m *message) bool { return d.takes(r, m.to, now) })
	if !found {
		return nil
	}
	return &attempt{begun: now, route: r, account: r.accountOf(m.to, now), message: m, large: m.envelope.Size >= fairqueue.LargeSize}
}

// nextQueued reserves one connection for small mail, if there is more than one.
func (d *Dispatcher) nextQueued(r *Route, now time.Time) *attempt {
	largeActive := 0
	for a := range d.active {
		if a.large && a.route == r {
			largeActive++
		}
	}
	// Two of eight turns begin with large mail.
	const turns, largeTurns = 8, 2
	allowed := func(t queue.Ticket) bool { return d.takes(r, d.backlog.Assignment(t.ID), now) }
	t, found := d.backlog.Pop(allowed, largeActive < max(1, r.throttle.Slots(now)-1), d.turn%turns < largeTurns)
	if !found {
		return nil
	}
	return &attempt{begun: now, route: r, account: r.accountOf(d.backlog.Assignment(t.ID), now), ticket: t, large: t.Size >= fairqueue.LargeSize}
}

// begin starts an attempt. While a breaker holds mail back, the attempt is its
// probe and no other is started. The caller holds mu.
func (d *Dispatcher) begin(a *attempt) {
	a.route.breaker.Begin(a)
	a.account.Breaker.Begin(a)
	a.account.Begin()
	a.route.active++
	d.active[a] = struct{}{}
	if a.message == nil {
		a.instead = d.insteadOf(a.route, d.backlog.Assignment(a.ticket.ID), a.begun)
	} else {
		a.instead = cmp.Or(d.insteadOf(a.route, a.message.to, a.begun), a.message.instead)
		a.message.started = true
		a.message.use()
	}
	select {
	case d.attempts <- a:
	default:
		d.running.Go(func() { d.work(a) })
	}
}

// work runs an attempt, and then others until Stop: a goroutine whose stack has grown to
// what a delivery needs is worth keeping. There are as many as there were attempts at once.
func (d *Dispatcher) work(a *attempt) {
	for {
		d.deliver(a)
		d.end(a)
		if a.message != nil {
			a.message.release()
		}
		select {
		case a = <-d.attempts:
		case <-d.stopped:
			return
		}
	}
}

// end removes an attempt and frees its slot. Calling it again does nothing.
func (d *Dispatcher) end(a *attempt) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, active := d.active[a]; !active {
		return
	}
	delete(d.active, a)
	a.route.active--
	if a.notOffered {
		a.account.Cancel()
	} else {
		a.account.End(time.Now())
	}
	a.route.breaker.End(a)
	a.account.Breaker.End(a)
	if d.live.Len() > 0 || d.backlog.Due() > 0 || d.backlog.Later() > 0 {
		d.kick()
	}
}

// releaseWaiting ends the wait of the matching live messages that have not
// started, so that they are queued. The caller holds mu.
func (d *Dispatcher) releaseWaiting(match func(*message) bool) {
	for m, found := d.live.Pop(match); found; m, found = d.live.Pop(match) {
		m.stopWaiting()
	}
}

// schedule puts a queued message on the schedule.
func (d *Dispatcher) schedule(t queue.Ticket, to fairqueue.Assignment) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.backlog.Assign(t.ID, to)
	d.backlog.Push(t)
	now := time.Now()
	if slices.ContainsFunc(d.routes, func(r *Route) bool { return r.breaker.Allows(now) }) {
		d.kick()
	}
}

func (d *Dispatcher) postpone(t queue.Ticket, due time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.backlog.Postpone(t, due)
}
