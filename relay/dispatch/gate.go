package dispatch

import (
	"math/rand/v2"
	"time"

	"sealpost/relay/report"
)

// unreachable is the kind of a far side that gave no answer that counts.
const unreachable report.Kind = "unreachable"

// gate holds back all mail of the upstream, or of one account, while none of it
// is taken. When it is time, one message goes through to see.
type gate struct {
	retry    Retry
	kind     report.Kind // empty while the gate is open
	barred   bool        // until somebody unbars it
	reason   string
	since    time.Time
	until    time.Time
	failures int      // in a row
	probe    *attempt // the message that went through to see

	taken    int64            // messages that went through, ever
	suspects map[string]int64 // taken, when a message first met what would close the gate
}

func newGate(retry Retry) gate { return gate{retry: retry, suspects: make(map[string]int64)} }

// closed tells whether mail is held back.
func (g *gate) closed() bool { return g.kind != "" }

// ready tells whether a message may go through now, be it to see.
func (g *gate) ready(now time.Time) bool {
	return !g.closed() || !g.barred && g.probe == nil && !now.Before(g.until)
}

// wait is how long it takes until a message may go through, where none may
// now. While one is on its way its end is waited for, which wakes by itself.
func (g *gate) wait(now time.Time, longest time.Duration) time.Duration {
	if g.probe != nil || g.barred {
		return longest
	}
	return lookAgain(now, g.until, longest)
}

// enter has a message that comes to a closed gate go through to see.
func (g *gate) enter(a *attempt) {
	if g.closed() {
		g.probe = a
	}
}

// leave ends what a message was there to see.
func (g *gate) leave(a *attempt) {
	if g.probe == a {
		g.probe = nil
	}
}

// passed notes that a message went through, and was taken where it says so. It
// tells whether the gate opens by that.
func (g *gate) passed(taken bool) (opens bool) {
	if taken {
		g.taken++
	}
	return g.open()
}

// blames tells whether what would close the gate is that message's own fault: it
// met the like before, and others were taken since. While none is taken nothing
// is.
func (g *gate) blames(id string) bool {
	const most = 1000
	if g.closed() {
		return false
	}
	if before, known := g.suspects[id]; known {
		return g.taken > before
	}
	if len(g.suspects) == most {
		clear(g.suspects)
	}
	g.suspects[id] = g.taken
	return false
}

// lookAgain is how long it takes until something is due for certain.
func lookAgain(now, due time.Time, longest time.Duration) time.Duration {
	return min(longest, max(due.Sub(now), 0)+time.Millisecond)
}

// pauses gives the first and the longest pause for a kind of fault. Trying to
// reach a host costs little; asking one that said no costs patience.
func (g *gate) pauses(kind report.Kind) (first, longest time.Duration) {
	switch kind {
	case unreachable, report.Wait:
		return g.retry.First / 6, g.retry.Longest / 12
	case report.WaitLong:
		return 5 * g.retry.First, g.retry.Longest
	case report.Configuration:
		return g.retry.First, g.retry.Longest / 4
	}
	return g.retry.Longest, g.retry.Longest
}

// shut closes the gate, or keeps it closed for longer, after an attempt that
// has begun at that time. Of those that were under way when the gate closed
// only one counts, so that the pauses do not grow with the connections. It
// tells whether the reason is news.
func (g *gate) shut(begun, now time.Time, kind report.Kind, reason string) (news bool) {
	failures := g.failures
	if kind != g.kind {
		failures = 0
	}
	first, longest := g.pauses(kind)
	until := now.Add(pause(first, longest, failures))
	if g.closed() && !begun.After(g.since) && (kind == g.kind || until.Before(g.until)) {
		return false
	}
	if !g.closed() {
		g.since = now
	}
	news = kind != g.kind || reason != g.reason
	g.kind, g.reason, g.until, g.failures = kind, reason, until, failures+1
	return news
}

// open lets mail through again. It tells whether that is news.
func (g *gate) open() (news bool) {
	news = g.closed()
	g.kind, g.reason, g.failures, g.probe = "", "", 0, nil
	return news
}

// pause grows with the failures from first to longest; jitter keeps boxes that
// lost the same host from coming back in step.
func pause(first, longest time.Duration, failures int) time.Duration {
	length := longest
	if failures < 16 {
		length = min(longest, first<<failures)
	}
	length = max(length, first)
	return length*4/5 + rand.N(length*2/5+1)
}
