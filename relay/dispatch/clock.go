package dispatch

import (
	"time"

	"sealpost/relay/envelope"
	"sealpost/relay/report"
)

// clockUnset is the kind of fault while the time is unknown. The box can then
// neither verify certificates nor tell a message's age.
const clockUnset report.Kind = "clock"

// AwaitClock holds all mail back until ClockSet. Messages are queued, and their
// age counts from ClockSet on.
func (d *Dispatcher) AwaitClock(reason string) {
	d.mu.Lock()
	d.clockUnknown = true
	for _, r := range d.routes {
		r.breaker.Block(time.Now(), clockUnset, reason)
	}
	d.mu.Unlock()
	d.journal.UpstreamHeld("", "", string(clockUnset), reason, "", time.Time{})
}

// ClockSet ends AwaitClock: mail is sent from now on.
func (d *Dispatcher) ClockSet() {
	d.mu.Lock()
	d.clockUnknown, d.clockSet = false, time.Now()
	for _, r := range d.routes {
		r.breaker.Unblock()
	}
	d.mu.Unlock()
	d.journal.UpstreamResumed("", "")
	d.kick()
}

// clearUnreliableTime clears the arrival time of a message received while the
// clock was not set.
func (d *Dispatcher) clearUnreliableTime(e envelope.Envelope) envelope.Envelope {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.clockUnknown {
		e.Received = time.Time{}
	}
	return e
}

// withReceivedTime fills in a missing arrival time with the time at which the
// clock was set.
func (d *Dispatcher) withReceivedTime(e envelope.Envelope) envelope.Envelope {
	d.mu.Lock()
	defer d.mu.Unlock()
	if e.Received.IsZero() {
		e.Received = d.clockSet
	}
	return e
}

// ageOf returns how long ago a message arrived, or 0 if that is unknown.
func ageOf(e envelope.Envelope) time.Duration {
	if e.Received.IsZero() {
		return 0
	}
	return time.Since(e.Received)
}
