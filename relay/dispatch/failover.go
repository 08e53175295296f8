package dispatch

import (
	"slices"
	"strings"
	"time"

	"sealpost/relay/dispatch/fairqueue"
	"sealpost/relay/dispatch/throttle"
	"sealpost/relay/envelope"
)

// limitReached is why mail waits for a limit.
const limitReached = "the sending limit is reached for now"

// accountOf returns the account of the route that a message counts against. The
// caller holds Dispatcher.mu.
func (r *Route) accountOf(to fairqueue.Assignment, now time.Time) *throttle.Account {
	return r.throttle.Account(to.Accounts[r.number], now)
}

// mayTake reports whether a message is free to take the route.
func (r *Route) mayTake(to fairqueue.Assignment) bool {
	if to.Bound != 0 {
		return to.Bound == r.number+1
	}
	return to.Barred&r.bit() == 0
}

// bit is the route's in Assignment.Barred.
func (r *Route) bit() uint8 { return 1 << r.number }

// assignment returns the accounts of a message on each route, and the routes that do not
// take its recipients.
func (d *Dispatcher) assignment(e envelope.Envelope) fairqueue.Assignment {
	to := fairqueue.Assignment{Barred: d.barred(e.Recipients)}
	for _, r := range d.routes {
		to.Accounts[r.number] = r.Upstream.Account(r.withReversePath(e))
	}
	return to
}

// barred returns the routes that do not take all of the recipients; none if no route does,
// as with mail that was queued under other settings.
func (d *Dispatcher) barred(recipients []envelope.Address) (barred uint8) {
	left := false
	for _, r := range d.routes {
		if r.Takes != nil && slices.ContainsFunc(recipients, func(a envelope.Address) bool { return !r.Takes(a) }) {
			barred |= r.bit()
		} else {
			left = true
		}
	}
	if !left {
		return 0
	}
	return barred
}

// bound returns Assignment.Bound for the route of that name. A route that is no
// longer in the settings binds no message.
func (d *Dispatcher) bound(name string) int {
	for _, r := range d.routes {
		if name != "" && r.Name == name {
			return r.number + 1
		}
	}
	return 0
}

// takes reports whether an attempt to send a message over route r may begin now. The
// caller holds mu.
func (d *Dispatcher) takes(r *Route, to fairqueue.Assignment, now time.Time) bool {
	return d.prefers(r, to, now) && r.accountOf(to, now).Allows(now)
}

// prefers reports whether r is the first route that does not hold a message back and whose
// limits are not exhausted, or the one that it is bound to. A route that holds mail back
// takes its probe all the same: it comes before the others. The caller holds mu.
func (d *Dispatcher) prefers(r *Route, to fairqueue.Assignment, now time.Time) bool {
	if to.Bound != 0 || !r.mayTake(to) {
		return r.mayTake(to)
	}
	for _, before := range d.routes[:r.number] {
		account := before.accountOf(to, now)
		if before.mayTake(to) && before.heldBy(account) == nil && !isExhausted(account, now) {
			return false
		}
	}
	return true
}

// isExhausted reports whether a limit, such as that of a day, keeps an account's mail back
// for so long that the next route takes it.
func isExhausted(account *throttle.Account, now time.Time) bool {
	const tooLong = 2 * time.Minute
	return account.LimitedFor(now) > tooLong
}

// heldBy returns the breakers that hold a message back, one for each route that it may
// take; nil if one of them does not. The caller holds mu.
func (d *Dispatcher) heldBy(to fairqueue.Assignment, now time.Time) []*throttle.Breaker {
	var breakers []*throttle.Breaker
	for _, r := range d.routes {
		if !r.mayTake(to) {
			continue
		}
		b := r.heldBy(r.accountOf(to, now))
		if b == nil {
			return nil
		}
		breakers = append(breakers, b)
	}
	return breakers
}

// insteadOf returns why the routes before r do not take mail; empty if r is the first
// or one of them does. The caller holds mu.
func (d *Dispatcher) insteadOf(r *Route, to fairqueue.Assignment, now time.Time) string {
	return d.reasons(d.routes[:r.number], to.Free(), now)
}

// reasons returns why each of the routes holds a message back that may take it; those
// that do not are left out. The caller holds mu.
func (d *Dispatcher) reasons(routes []*Route, to fairqueue.Assignment, now time.Time) string {
	var reasons []string
	for _, r := range routes {
		account := r.accountOf(to, now)
		b := r.heldBy(account)
		switch {
		case !r.mayTake(to):
		case b != nil:
			reasons = append(reasons, r.labelled(b.Hold().Reason))
		case isExhausted(account, now):
			reasons = append(reasons, r.labelled(limitReached))
		}
	}
	return strings.Join(reasons, "; ")
}

// offerAgain offers a live message to the next route, after a fault of this one and
// while its client waits. It returns false if the message must be queued, or if no
// other route accepts it now.
func (d *Dispatcher) offerAgain(dl *delivery, m *message) bool {
	if dl.route.only || !dl.isUpstreamFault() || dl.progress.Route != "" || dl.err == nil && !dl.evaluation.all(pending) {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.queued || m.reply.Code != 0 {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	now, to := time.Now(), m.to
	for _, r := range d.routes[dl.route.number+1:] {
		if to.Barred&r.bit() != 0 {
			continue
		}
		to.Bound = r.number + 1
		if d.stopping || d.queue != nil && d.queueReason(to, now) != "" {
			continue
		}
		m.to, m.started, m.instead = to, false, dl.route.labelled(dl.text())
		m.lastRead.Store(0)
		d.live.PushFront(m.flow(), m)
		d.kick()
		return true
	}
	return false
}
