package dispatch

import (
	"time"

	"sealpost/relay/dispatch/throttle"
	"sealpost/relay/reply"
	"sealpost/relay/report"
)

// updateAfterFailure updates the breaker after a delivery that got no usable
// reply.
func (d *Dispatcher) updateAfterFailure(t *delivery) {
	if t.content.err() != nil || d.context.Err() != nil {
		return
	}
	kind, scope := throttle.Unreachable, report.Whole
	if u := t.unavailable(); u != nil {
		if u.Configuration {
			kind = report.Configuration
		}
		if u.Account {
			scope = report.Account
		}
	}
	if reading, isFault := t.route.fault(t.refusal()); isFault {
		kind, scope = reading.Kind, max(scope, reading.Scope)
	}
	b := t.breakerFor(scope)
	t.messageFault = (t.brokeOff() || scope == report.Account) && d.isMessageFault(t, b)
	if !t.messageFault {
		d.trip(t, b, kind, t.words(), t.refusal())
	}
}

// updateAfterReplies updates the breakers by the server's replies.
func (d *Dispatcher) updateAfterReplies(t *delivery) {
	v := &t.verdict
	if fault := v.upstreamFault; fault != nil {
		b := t.breakerFor(fault.Scope)
		permanent := fault.Kind == report.Configuration || fault.Kind == report.Blocked
		t.messageFault = permanent && d.isMessageFault(t, b)
		if !t.messageFault {
			d.trip(t, b, fault.Kind, v.faultWords(), v.faultReply)
			return
		}
	}
	taken := v.count(delivered) > 0
	d.mu.Lock()
	resumed, ownResumed := t.route.breaker.Succeeded(taken), t.account.Breaker.Succeeded(taken)
	d.mu.Unlock()
	if resumed {
		d.journal.UpstreamResumed("")
	}
	if ownResumed {
		d.journal.UpstreamResumed(t.account.Name)
	}
}

// breakerFor is the breaker that a fault of that scope trips.
func (t *delivery) breakerFor(s report.Scope) *throttle.Breaker {
	if s == report.Account && t.account.Name != "" {
		return t.account.Breaker
	}
	return t.route.breaker
}

// isMessageFault reports whether a fault that would trip the breaker is the
// message's own.
func (d *Dispatcher) isMessageFault(t *delivery, b *throttle.Breaker) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if t.envelope.Sender == "" && t.envelope.Report {
		// Only the certificate's own domain vouches for the null reverse-path.
		return !b.Held()
	}
	return b.IsMessageFault(t.envelope.ID)
}

// trip has a breaker hold mail back for a while, and lowers the limits where the
// reply asks for it.
func (d *Dispatcher) trip(t *delivery, b *throttle.Breaker, kind report.Kind, words string, answer reply.Reply) {
	const tooManyConnections = 432
	d.mu.Lock()
	if d.queue == nil {
		// Nothing can be held back, so each client's message is tried by itself.
		d.mu.Unlock()
		return
	}
	now := time.Now()
	switch {
	case answer.Code == tooManyConnections:
		t.account.TooManyConnections(now)
	case kind == report.WaitLong:
		t.account.SlowDown(now)
	}
	news := b.Trip(t.begun, now, kind, words)
	until, resumed, account := b.Hold().Until, false, ""
	if b != t.route.breaker {
		// A server that refuses one account takes the others' mail.
		resumed, account = t.route.breaker.Reset(), t.account.Name
	}
	d.releaseWaiting(func(m *message) bool { return m.route == t.route && (account == "" || m.account == account) })
	d.mu.Unlock()
	if resumed {
		d.journal.UpstreamResumed("")
	}
	if news {
		d.journal.UpstreamHeld(account, string(kind), words, until)
	}
}
