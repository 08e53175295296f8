package dispatch

import (
	"time"

	"sealpost/relay/envelope"
	"sealpost/relay/report"
)

// noClock is the kind of fault of a box that does not know the time: it can
// verify no certificate and tell no message's age.
const noClock report.Kind = "clock"

// AwaitClock holds all mail back until ClockSet; what comes is kept, and its
// age counts from then on.
func (d *Dispatcher) AwaitClock(reason string) {
	d.mu.Lock()
	d.clockUnknown = true
	d.route.breaker.Block(time.Now(), noClock, reason)
	d.mu.Unlock()
	d.journal.UpstreamHeld("", string(noClock), reason, "", time.Time{})
}

// ClockSet lets mail go out.
func (d *Dispatcher) ClockSet() {
	d.mu.Lock()
	d.clockUnknown, d.clockSet = false, time.Now()
	d.route.breaker.Unblock()
	d.mu.Unlock()
	d.journal.UpstreamResumed("")
	d.kick()
}

// withoutWrongTime clears the time of a message that came while the clock was
// not set.
func (d *Dispatcher) withoutWrongTime(e envelope.Envelope) envelope.Envelope {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.clockUnknown {
		e.Received = time.Time{}
	}
	return e
}

// withTime gives a message without a time the earliest one that is known: when
// the clock could first be relied on.
func (d *Dispatcher) withTime(e envelope.Envelope) envelope.Envelope {
	d.mu.Lock()
	defer d.mu.Unlock()
	if e.Received.IsZero() {
		e.Received = d.clockSet
	}
	return e
}

// since is how long ago a message came; 0 where that is not known.
func since(e envelope.Envelope) time.Duration {
	if e.Received.IsZero() {
		return 0
	}
	return time.Since(e.Received)
}
