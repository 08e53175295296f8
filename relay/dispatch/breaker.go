package dispatch

import (
	"errors"
	"time"

	"sealpost/hal/fault"
	"sealpost/relay/dispatch/throttle"
	"sealpost/relay/envelope"
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
	kind, scope := throttle.Unreachable, report.AllMail
	if u := dl.unavailable(); u != nil {
		if u.Configuration {
			kind = report.Configuration
		}
		if u.Account {
			scope = report.Account
		}
	}
	if class, isFault := dl.route.fault(dl.rejection()); isFault {
		kind, scope = class.Kind, max(scope, class.Scope)
	}
	b := dl.breakerFor(scope)
	dl.messageFault = (dl.lostInTransaction() || scope == report.Account) && d.isMessageFault(dl, b)
	if !dl.messageFault {
		d.trip(dl, b, kind, dl.text(), dl.rejection())
	}
}

// updateAfterReplies updates the breakers from the server's replies.
func (d *Dispatcher) updateAfterReplies(dl *delivery) {
	v := &dl.evaluation
	switch d.unknownExtent(dl) {
	case throttle.OneSource:
		v.postpone()
	case throttle.OneAccount:
		v.hold(report.UnknownAccountBlock, dl.result.Mail)
	case throttle.AllMail:
		v.hold(report.UnknownBlock, dl.result.Mail)
	}
	if fault := v.upstreamFault; fault != nil {
		b := dl.breakerFor(fault.Scope)
		permanent := fault.Kind == report.Configuration || fault.Kind == report.Blocked
		dl.messageFault = permanent && d.isMessageFault(dl, b)
		if dl.messageFault && (dl.envelope.Report || dl.isForeign()) {
			v.refuse()
		}
		if !dl.messageFault {
			d.trip(dl, b, fault.Kind, v.faultText(), v.faultReply)
			return
		}
	}
	accepted := v.count(delivered) > 0
	d.mu.Lock()
	resumed, accountResumed := dl.route.breaker.Succeeded(accepted), dl.account.Breaker.Succeeded(accepted)
	if accepted {
		// This source's mail was accepted, so earlier faults were not caused by the source.
		dl.route.breaker.Forget(dl.source())
		dl.account.Breaker.Forget(dl.source())
	}
	d.mu.Unlock()
	if resumed {
		d.journal.UpstreamResumed(dl.route.label(), "")
	}
	if accountResumed {
		d.journal.UpstreamResumed(dl.route.label(), dl.account.Name)
	}
}

// unknownExtent returns how much mail is affected by a policy rejection of MAIL that is
// not in the table.
func (d *Dispatcher) unknownExtent(dl *delivery) throttle.Extent {
	mail := dl.result.Mail
	if !mail.Permanent() || mail.Status.Subject != 7 || dl.envelope.Report || dl.isForeign() {
		return throttle.OneMessage
	}
	if _, known := dl.route.Classify(mail, "", ""); known {
		return throttle.OneMessage
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if dl.account.Name != "" && dl.account.Breaker.IsRejecting() {
		return throttle.OneAccount
	}
	return dl.route.breaker.ExtentOf(time.Now(), dl.envelope.ID, dl.source(), dl.account.Name, mail.Status)
}

// source is what messages of the same device have in common.
func (dl *delivery) source() string {
	return envelope.ClientNetwork(dl.envelope.Client).String() + " " + string(dl.envelope.Sender)
}

// isForeign reports whether the sender is outside the domains that the upstream
// relays for.
func (dl *delivery) isForeign() bool {
	e := dl.envelope
	return e.Sender != "" && dl.route.Relays != nil && !dl.route.Relays(e.Sender)
}

// breakerFor returns the breaker that a fault of scope s trips.
func (dl *delivery) breakerFor(s report.Scope) *throttle.Breaker {
	if s == report.Account && dl.account.Name != "" {
		return dl.account.Breaker
	}
	return dl.route.breaker
}

// isMessageFault reports whether a fault that would trip breaker b is caused by
// this message alone.
func (d *Dispatcher) isMessageFault(dl *delivery, b *throttle.Breaker) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if dl.envelope.Sender == "" && dl.envelope.Report {
		// The null reverse-path has no domain; only the certificate's domain identifies the sender.
		return !b.Held()
	}
	if dl.isForeign() {
		// Exchange Online's reply to such a sender is the one for a missing connector.
		return !b.Held()
	}
	return b.IsMessageFault(time.Now(), dl.envelope.ID, dl.source())
}

// trip makes the breaker hold mail back for a while, and lowers the throttle's
// limits if the reply asks for it.
func (d *Dispatcher) trip(dl *delivery, b *throttle.Breaker, kind report.Kind, reason string, serverReply reply.Reply) {
	code := dl.faultCode(serverReply)
	const tooManyConnections = 432
	d.mu.Lock()
	if d.queue == nil {
		// Without a queue mail cannot be held back: every message is tried.
		d.mu.Unlock()
		return
	}
	now := time.Now()
	switch {
	case serverReply.Code == tooManyConnections:
		dl.account.TooManyConnections(now)
	case kind == report.WaitLong:
		dl.account.SlowDown(now)
	}
	changed := b.Trip(dl.begun, now, kind, reason, code)
	until, resumed, account := b.Hold().Until, false, ""
	if b != dl.route.breaker {
		// A server that refuses one account still accepts mail of the others.
		resumed, account = dl.route.breaker.Reset(), dl.account.Name
	}
	d.releaseWaiting(func(m *message) bool { return d.heldBy(m.to, now) != nil })
	d.mu.Unlock()
	if resumed {
		d.journal.UpstreamResumed(dl.route.label(), "")
	}
	if changed {
		d.journal.UpstreamHeld(dl.route.label(), account, string(kind), reason, code, until)
	}
}

// faultCode returns the fault code of a failed delivery: the one in the
// classification table for the reply, or else the upstream's.
func (dl *delivery) faultCode(serverReply reply.Reply) fault.Code {
	if class, known := dl.route.fault(serverReply); known && class.Code != "" {
		return class.Code
	}
	if u := (*upstream.Unavailable)(nil); errors.As(dl.err, &u) && u.Code != "" {
		return u.Code
	}
	return fault.CodeOf(dl.err)
}
