package dispatch

import (
	"time"

	"sealpost/relay/envelope"
	"sealpost/relay/report"
)

// noClock is the kind of fault that is the box's own: it does not know what
// time it is, so it can judge no certificate and no message's age.
const noClock report.Kind = "clock"

// AwaitClock holds all mail back until ClockSet; what comes is kept, and its
// age counts from then on.
func (d *Dispatcher) AwaitClock(reason string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.gate.bar(noClock, reason)
	d.journal.UpstreamHeld("", string(noClock), reason, time.Time{})
}

// ClockSet lets mail go out.
func (d *Dispatcher) ClockSet() {
	d.mu.Lock()
	d.clockSet = time.Now()
	d.gate.unbar()
	d.mu.Unlock()
	d.journal.UpstreamResumed("")
	d.kick()
}

// bar closes the gate whatever the upstream does.
func (g *gate) bar(kind report.Kind, reason string) {
	g.barred, g.kind, g.reason, g.since = true, kind, reason, time.Now()
}

func (g *gate) unbar() {
	g.barred = false
	g.open()
}

// dated takes the time off a message that came while nobody knew it.
func (d *Dispatcher) dated(e envelope.Envelope) envelope.Envelope {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.gate.barred {
		e.Received = time.Time{}
	}
	return e
}

// redated gives a kept message that has no time the earliest that can be
// known: when this relay could first rely on its clock.
func (d *Dispatcher) redated(e envelope.Envelope) envelope.Envelope {
	d.mu.Lock()
	defer d.mu.Unlock()
	if e.Received.IsZero() {
		e.Received = d.clockSet
	}
	return e
}
