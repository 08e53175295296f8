package dispatch

import (
	"errors"
	"time"

	"sealpost/hal/fault"
	"sealpost/relay/dispatch/throttle"
	"sealpost/relay/reply"
	"sealpost/relay/report"
	"sealpost/relay/upstream"
)

// updateAfterFailure updates the breaker after a delivery that got no usable
// reply.
func (d *Dispatcher) updateAfterFailure(dl *delivery) {
	if dl.content.err() != nil || d.context.Err() != nil {
		return
	}
	kind, scope := throttle.Unreachable, report.Whole
	if u := dl.unavailable(); u != nil {
		if u.Configuration {
			kind = report.Configuration
		}
		if u.Account {
			scope = report.Account
		}
	}
	if reading, isFault := dl.route.fault(dl.refusal()); isFault {
		kind, scope = reading.Kind, max(scope, reading.Scope)
	}
	b := dl.breakerFor(scope)
	dl.messageFault = (dl.brokeOff() || scope == report.Account) && d.isMessageFault(dl, b)
	if !dl.messageFault {
		d.trip(dl, b, kind, dl.words(), dl.refusal())
	}
}

// updateAfterReplies updates the breakers by the server's replies.
func (d *Dispatcher) updateAfterReplies(dl *delivery) {
	v := &dl.verdict
	if fault := v.upstreamFault; fault != nil {
		b := dl.breakerFor(fault.Scope)
		permanent := fault.Kind == report.Configuration || fault.Kind == report.Blocked
		dl.messageFault = permanent && d.isMessageFault(dl, b)
		if !dl.messageFault {
			d.trip(dl, b, fault.Kind, v.faultWords(), v.faultReply)
			return
		}
	}
	taken := v.count(delivered) > 0
	d.mu.Lock()
	resumed, ownResumed := dl.route.breaker.Succeeded(taken), dl.account.Breaker.Succeeded(taken)
	d.mu.Unlock()
	if resumed {
		d.journal.UpstreamResumed("")
	}
	if ownResumed {
		d.journal.UpstreamResumed(dl.account.Name)
	}
}

// breakerFor is the breaker that a fault of that scope trips.
func (dl *delivery) breakerFor(s report.Scope) *throttle.Breaker {
	if s == report.Account && dl.account.Name != "" {
		return dl.account.Breaker
	}
	return dl.route.breaker
}

// isMessageFault reports whether a fault that would trip the breaker is the
// message's own.
func (d *Dispatcher) isMessageFault(dl *delivery, b *throttle.Breaker) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if dl.envelope.Sender == "" && dl.envelope.Report {
		// Only the certificate's own domain vouches for the null reverse-path.
		return !b.Held()
	}
	return b.IsMessageFault(dl.envelope.ID)
}

// trip has a breaker hold mail back for a while, and lowers the limits where the
// reply asks for it.
func (d *Dispatcher) trip(dl *delivery, b *throttle.Breaker, kind report.Kind, words string, answer reply.Reply) {
	code := dl.code(answer)
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
		dl.account.TooManyConnections(now)
	case kind == report.WaitLong:
		dl.account.SlowDown(now)
	}
	news := b.Trip(dl.begun, now, kind, words, code)
	until, resumed, account := b.Hold().Until, false, ""
	if b != dl.route.breaker {
		// A server that refuses one account takes the others' mail.
		resumed, account = dl.route.breaker.Reset(), dl.account.Name
	}
	d.releaseWaiting(func(m *message) bool { return m.route == dl.route && (account == "" || m.account == account) })
	d.mu.Unlock()
	if resumed {
		d.journal.UpstreamResumed("")
	}
	if news {
		d.journal.UpstreamHeld(account, string(kind), words, code, until)
	}
}

// code is that of the fault behind an attempt: what the server's reply is known
// for, or the upstream's own.
func (dl *delivery) code(answer reply.Reply) fault.Code {
	if reading, known := dl.route.fault(answer); known && reading.Code != "" {
		return reading.Code
	}
	if u := (*upstream.Unavailable)(nil); errors.As(dl.err, &u) && u.Code != "" {
		return u.Code
	}
	return fault.CodeOf(dl.err)
}
