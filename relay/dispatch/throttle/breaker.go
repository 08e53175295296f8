package throttle

import (
	"math/rand/v2"
	"time"

	"sealpost/hal/fault"
	"sealpost/relay/report"
)

// Unreachable is the kind of fault of a server that gave no usable reply.
const Unreachable report.Kind = "unreachable"

// Pauses bounds the pause between two attempts, which doubles with each
// failure.
type Pauses struct {
	First   time.Duration // after the first failure
	Longest time.Duration // however many failures there were
}

// After is the pause after so many earlier failures in a row. Jitter of a fifth
// either way keeps boxes that lost the same host from coming back in step.
func (p Pauses) After(failures int) time.Duration {
	length := p.Longest
	if failures < 16 {
		length = min(p.Longest, p.First<<failures)
	}
	length = max(length, p.First)
	return length*4/5 + rand.N(length*2/5+1)
}

// Breaker is the circuit breaker of a route or of one account: it holds mail
// back while the server takes none. When the pause is over one attempt, the
// probe, goes out alone; its reply resets the breaker or trips it again.
//
// A Breaker has no lock of its own.
type Breaker struct {
	retry    Pauses
	kind     report.Kind // why mail is held back; empty while it is not
	blocked  bool        // held back until Unblock, whatever the server says
	reason   string
	code     fault.Code
	since    time.Time
	until    time.Time
	failures int // in a row
	probe    any // the attempt that goes out alone; nil where none does

	taken    int64            // messages that the server took, ever
	suspects map[string]int64 // taken, by message, when it first met a fault that would trip the breaker
}

// NewBreaker returns a breaker that holds nothing back.
func NewBreaker(retry Pauses) *Breaker {
	return &Breaker{retry: retry, suspects: make(map[string]int64)}
}

// Hold says why mail is held back.
type Hold struct {
	Kind   report.Kind
	Reason string     // in words, for people
	Code   fault.Code // of the fault, where it has one
	Since  time.Time
	Until  time.Time // when the server is asked again
}

// Hold says why mail is held back; it is zero while none is.
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

// Allows reports whether an attempt may begin now, be it as the probe.
func (b *Breaker) Allows(now time.Time) bool {
	return !b.Held() || !b.blocked && b.probe == nil && !now.Before(b.until)
}

// RetryAfter is how long it takes until the next probe may begin, to no more
// than longest. While a probe is under way, or the breaker is blocked, it is
// longest: what ends that wakes the caller.
func (b *Breaker) RetryAfter(now time.Time, longest time.Duration) time.Duration {
	if b.probe != nil || b.blocked {
		return longest
	}
	return min(longest, max(b.until.Sub(now), 0)+time.Millisecond)
}

// Begin notes an attempt that begins: the probe, where mail is held back. The
// attempt may be any comparable value; End takes the same.
func (b *Breaker) Begin(attempt any) {
	if b.Held() {
		b.probe = attempt
	}
}

// End notes that an attempt has ended. Another may be the probe then.
func (b *Breaker) End(attempt any) {
	if b.probe == attempt {
		b.probe = nil
	}
}

// Succeeded resets the breaker after an attempt with a usable reply; taken says
// whether the server took the message. It reports whether mail was held back
// until now.
func (b *Breaker) Succeeded(taken bool) (resumed bool) {
	if taken {
		b.taken++
	}
	return b.Reset()
}

// IsMessageFault reports whether a fault that would trip the breaker is the
// message's own: it met such a fault before, and the server took other messages
// since. The message is known by any name that is its own.
func (b *Breaker) IsMessageFault(id string) bool {
	const maxSuspects = 1000
	if b.Held() {
		return false
	}
	if before, known := b.suspects[id]; known {
		return b.taken > before
	}
	if len(b.suspects) == maxSuspects {
		clear(b.suspects)
	}
	b.suspects[id] = b.taken
	return false
}

// Forget drops what IsMessageFault knows of a message that is done with.
func (b *Breaker) Forget(id string) { delete(b.suspects, id) }

// pauses bounds the pauses for a kind of fault. Trying to reach a host costs
// little; asking one that refused costs its goodwill.
func (b *Breaker) pauses(kind report.Kind) Pauses {
	first, longest := b.retry.First, b.retry.Longest
	switch kind {
	case Unreachable, report.Wait:
		return Pauses{first / 6, longest / 12}
	case report.WaitLong:
		return Pauses{5 * first, longest}
	case report.Configuration:
		return Pauses{first, longest / 4}
	}
	return Pauses{longest, longest}
}

// Trip holds mail back, or holds it back for longer, after an attempt that
// began at that time. Of the attempts that were under way when mail was first
// held back only one counts, so that the pause does not grow with the number of
// connections. It reports whether the reason is a new one.
func (b *Breaker) Trip(begun, now time.Time, kind report.Kind, reason string, code fault.Code) (news bool) {
	failures := b.failures
	if kind != b.kind {
		failures = 0
	}
	until := now.Add(b.pauses(kind).After(failures))
	if b.Held() && !begun.After(b.since) && (kind == b.kind || until.Before(b.until)) {
		return false
	}
	if !b.Held() {
		b.since = now
	}
	news = kind != b.kind || reason != b.reason
	b.kind, b.reason, b.code, b.until, b.failures = kind, reason, code, until, failures+1
	return news
}

// Reset lets mail through again. It reports whether mail was held back until
// now.
func (b *Breaker) Reset() (resumed bool) {
	resumed = b.Held()
	b.kind, b.reason, b.code, b.failures, b.probe = "", "", "", 0, nil
	return resumed
}

// ProbeNow ends the pause before the next probe.
func (b *Breaker) ProbeNow(now time.Time) { b.until = now }

// Block holds mail back until Unblock, whatever the server says.
func (b *Breaker) Block(now time.Time, kind report.Kind, reason string) {
	b.blocked, b.kind, b.reason, b.code, b.since = true, kind, reason, "", now
}

// Unblock ends Block, and lets mail through.
func (b *Breaker) Unblock() {
	b.blocked = false
	b.Reset()
}
