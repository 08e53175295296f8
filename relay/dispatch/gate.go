package dispatch

import (
	"math/rand/v2"
	"time"

	"sealpost/relay/report"
)

// unreachable is the kind of a far side that gave no answer that counts.
const unreachable report.Kind = "unreachable"

// gate holds back all mail while the upstream as a whole takes none. When it
// is time, one message goes through to see.
type gate struct {
	retry    Retry
	kind     report.Kind // empty while the gate is open
	reason   string
	since    time.Time
	until    time.Time
	failures int // in a row
	probing  bool
}

// closed tells whether mail is held back.
func (g *gate) closed() bool { return g.kind != "" }

// ready tells whether a message may go through now, be it to see.
func (g *gate) ready(now time.Time) bool {
	return !g.closed() || !g.probing && !now.Before(g.until)
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

// shut closes the gate, or keeps it closed for longer. It tells whether the
// reason is news.
func (g *gate) shut(now time.Time, kind report.Kind, reason string) (news bool) {
	news = kind != g.kind || reason != g.reason
	if kind != g.kind {
		g.failures = 0
	}
	if !g.closed() {
		g.since = now
	}
	first, longest := g.pauses(kind)
	g.kind, g.reason, g.probing = kind, reason, false
	g.until = now.Add(pause(first, longest, g.failures))
	g.failures++
	return news
}

// open lets mail through again. It tells whether that is news.
func (g *gate) open() (news bool) {
	news = g.closed()
	g.kind, g.reason, g.failures, g.probing = "", "", 0, false
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
