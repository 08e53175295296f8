package throttle

import (
	"math/rand/v2"
	"time"

	"sealpost/hal/fault"
	"sealpost/relay/reply"
	"sealpost/relay/report"
)

// Unreachable is the kind of fault of a server without a usable reply.
const Unreachable report.Kind = "unreachable"

// Delays bounds the exponential backoff between two attempts.
type Delays struct {
	First   time.Duration // after the first failure
	Longest time.Duration // upper bound
}

// After returns the delay after that many failures in a row. A jitter of ±20 %
// keeps boxes that lost the same host from retrying in step.
func (d Delays) After(failures int) time.Duration {
	delay := d.Longest
	if failures < 16 {
		delay = min(d.Longest, d.First<<failures)
	}
	delay = max(delay, d.First)
	return delay*4/5 + rand.N(delay*2/5+1)
}

// Breaker is the circuit breaker of a route or an account: it holds mail back
// while the server accepts none. After the delay a single attempt, the probe, is
// sent; its reply resets the breaker or trips it again.
//
// A Breaker has no lock.
type Breaker struct {
	retry    Delays
	kind     report.Kind // why mail is held back; empty if it is not
	blocked  bool        // held back until Unblock, regardless of replies
	reason   string
	code     fault.Code
	since    time.Time
	until    time.Time
	failures int // in a row
	probe    any // the attempt sent as probe; nil if none

	accepted int64                // messages that the server accepted so far
	suspects map[string]suspicion // by message, and by the source of messages
	unknown  unknownReply
}

// NewBreaker returns a breaker in the reset state.
func NewBreaker(retry Delays) *Breaker {
	return &Breaker{retry: retry, suspects: make(map[string]suspicion)}
}

// Hold describes why mail is held back.
type Hold struct {
	Kind   report.Kind
	Reason string     // for people
	Code   fault.Code // fault code, if any
	Since  time.Time
	Until  time.Time // when the next probe is sent
}

// Hold returns why mail is held back, or the zero Hold.
func (b *Breaker) Hold() Hold {
	if !b.Held() {
		return Hold{}
	}
	return Hold{b.kind, b.reason, b.code, b.since, b.until}
}

// Held reports whether mail is held back.
func (b *Breaker) Held() bool { return b.kind != "" }

// Blocked reports whether mail is held back until Unblock.
func (b *Breaker) Blocked() bool { return b.blocked }

// Allows reports whether an attempt may begin now, as the probe or otherwise.
func (b *Breaker) Allows(now time.Time) bool {
	return !b.Held() || !b.blocked && b.probe == nil && !now.Before(b.until)
}

// RetryAfter is how long it takes until the next probe may begin, to no more
// than longest. While a probe is in progress, or the breaker is blocked, it is
// longest: the caller is woken when that ends.
func (b *Breaker) RetryAfter(now time.Time, longest time.Duration) time.Duration {
	if b.probe != nil || b.blocked {
		return longest
	}
	return min(longest, max(b.until.Sub(now), 0)+time.Millisecond)
}

// Begin records the start of an attempt, which is the probe while mail is held
// back. attempt is any comparable value; End takes the same.
func (b *Breaker) Begin(attempt any) {
	if b.Held() {
		b.probe = attempt
	}
}

// End records the end of an attempt. If it was the probe, another may be sent.
func (b *Breaker) End(attempt any) {
	if b.probe == attempt {
		b.probe = nil
	}
}

// Succeeded resets the breaker after a usable reply; accepted reports whether
// the server accepted the message. It returns whether mail was held back until
// now.
func (b *Breaker) Succeeded(accepted bool) (resumed bool) {
	if accepted {
		b.accepted++
	}
	return b.Reset()
}

// suspicion is a fault that would trip the breaker.
type suspicion struct {
	accepted int64 // by then
	since    time.Time
}

// suspicionTime is how long a fault is attributed to a source of messages. After that
// it is attributed to the upstream again, which may have a fault by then.
const suspicionTime = time.Hour

// IsMessageFault reports whether a fault that would trip the breaker is caused by
// message id, or by its source, alone: it had such a fault before, and the server has
// accepted other messages since. A source is whatever messages of the same kind
// have in common.
func (b *Breaker) IsMessageFault(now time.Time, id, source string) bool {
	const maxSuspects = 1000
	if b.Held() {
		return false
	}
	message, known := b.suspects[id]
	from, suspected := b.suspects[source]
	suspected = suspected && now.Sub(from.since) < suspicionTime
	if known && b.accepted > message.accepted || suspected && b.accepted > from.accepted {
		return true
	}
	if len(b.suspects) >= maxSuspects {
		clear(b.suspects)
	}
	if !known {
		b.suspects[id] = suspicion{b.accepted, now}
	}
	if !suspected {
		b.suspects[source] = suspicion{b.accepted, now}
	}
	return false
}

// unknownReply is a reply to one message that is not in the table.
type unknownReply struct {
	suspicion
	status                   reply.Status
	message, source, account string
}

// IsRejecting reports whether mail is held back because the server rejects it, and not
// because of an outage or a delay, after which the probe is a message like any other.
func (b *Breaker) IsRejecting() bool {
	return b.kind == report.Configuration || b.kind == report.Blocked
}

// Extent is how much mail a rejection affects.
type Extent int

// The extents of a rejection.
const (
	OneMessage Extent = iota
	OneSource         // several messages of one source
	OneAccount        // messages of several sources of one account
	AllMail
)

// ExtentOf returns how much mail is affected by a reply to message id that is not in
// the table: that depends on which message got the same reply before, while the server
// has accepted none since. If the server rejects all mail, this message is the probe.
func (b *Breaker) ExtentOf(now time.Time, id, source, account string, status reply.Status) Extent {
	before, remembered := b.unknown, max(suspicionTime, 2*b.retry.Longest)
	switch {
	case b.IsRejecting():
		return AllMail
	case before.status != status || before.message == id || before.accepted != b.accepted || now.Sub(before.since) > remembered:
		b.unknown = unknownReply{suspicion{b.accepted, now}, status, id, source, account}
		return OneMessage
	}
	b.unknown.since = now
	switch {
	case before.source == source:
		return OneSource
	case before.account == account && account != "":
		return OneAccount
	}
	return AllMail
}

// Forget drops what IsMessageFault recorded for a finished message, or for a source.
func (b *Breaker) Forget(key string) { delete(b.suspects, key) }

// delays returns the backoff for a kind of fault. Reconnecting to an
// unreachable host is harmless; repeating a refused request harms the site's
// reputation.
func (b *Breaker) delays(kind report.Kind) Delays {
	first, longest := b.retry.First, b.retry.Longest
	switch kind {
	case Unreachable, report.Wait:
		return Delays{first / 6, longest / 12}
	case report.WaitLong:
		return Delays{5 * first, longest}
	case report.Configuration:
		return Delays{first, longest / 4}
	}
	return Delays{longest, longest}
}

// Trip holds mail back, or extends that, after an attempt that began at begun.
// Attempts that were in progress when the breaker tripped count only once, so
// that the delay does not grow with the number of connections. It returns
// whether the reason changed.
func (b *Breaker) Trip(begun, now time.Time, kind report.Kind, reason string, code fault.Code) (changed bool) {
	failures := b.failures
	if kind != b.kind {
		failures = 0
	}
	until := now.Add(b.delays(kind).After(failures))
	if b.Held() && !begun.After(b.since) && (kind == b.kind || until.Before(b.until)) {
		return false
	}
	if !b.Held() {
		b.since = now
	}
	changed = kind != b.kind || reason != b.reason
	b.kind, b.reason, b.code, b.until, b.failures = kind, reason, code, until, failures+1
	return changed
}

// Reset lets mail through. It returns whether mail was held back until now.
func (b *Breaker) Reset() (resumed bool) {
	resumed = b.Held()
	b.kind, b.reason, b.code, b.failures, b.probe = "", "", "", 0, nil
	return resumed
}

// ProbeNow ends the delay before the next probe.
func (b *Breaker) ProbeNow(now time.Time) { b.until = now }

// Block holds mail back until Unblock, regardless of replies.
func (b *Breaker) Block(now time.Time, kind report.Kind, reason string) {
	b.blocked, b.kind, b.reason, b.code, b.since = true, kind, reason, "", now
}

// Unblock ends Block and lets mail through.
func (b *Breaker) Unblock() {
	b.blocked = false
	b.Reset()
}
