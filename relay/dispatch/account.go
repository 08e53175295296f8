package dispatch

import (
	"cmp"
	"time"
)

// account counts what was sent for one mailbox, or where the upstream knows none
// for all, and says whether more may be. Only one with a name has a gate that
// ever closes. What the far side answers teaches it
// lower limits than those it was given; they open again step by step.
type account struct {
	name   string
	limits Limits
	gate   gate

	connections learned
	rate        learned
	sending     int    // messages that are on their way
	recent      window // messages that came to their end
	day         window
	unsaved     int // recipients since the memo was written
}

// newAccount counts messages over one slot more than the rate is given for: the
// first one is over only in part.
func newAccount(name string, limits Limits, retry Retry) *account {
	const slots = 60
	return &account{name: name, limits: limits, gate: newGate(retry),
		recent: window{Slot: cmp.Or(limits.Rate.Per, time.Minute) / slots, Counts: make([]int, slots+1)},
		day:    window{Slot: time.Hour, Counts: make([]int, 24)}}
}

// openingStep is how long a learned limit stays before it is raised a step.
const openingStep = 10 * time.Minute

// learned is a limit that an answer taught; a zero Limit is none.
type learned struct {
	Limit int       `json:"limit,omitempty"`
	Since time.Time `json:"since,omitzero"`
}

// at is the limit at that time: half as much again after each step.
func (l learned) at(now time.Time, most int) int {
	// A time to come was noted by a clock set wrong.
	if l.Limit == 0 || l.Since.Sub(now) > openingStep {
		return most
	}
	limit := l.Limit
	for since := l.Since; since.Add(openingStep).Before(now) && (most == 0 || limit < most); since = since.Add(openingStep) {
		limit += (limit + 1) / 2
		if limit > forgotten {
			return most
		}
	}
	if most > 0 {
		return min(limit, most)
	}
	return limit
}

// forgotten is where a learned limit is no limit any more.
const forgotten = 10_000

// slots is how many attempts may run at once.
func (a *account) slots(now time.Time) int {
	return max(1, a.connections.at(now, cmp.Or(a.limits.PerAccount, a.limits.Connections)))
}

// may tells whether one more message may be sent now.
func (a *account) may(now time.Time) bool {
	return a.gate.ready(now) && a.sending < a.slots(now) && a.wait(now) == 0
}

// relief is how long it takes until one that must wait may send, unless the end
// of a message brings that about.
func (a *account) relief(now time.Time) time.Duration {
	if a.gate.closed() {
		return max(a.wait(now), a.gate.until.Sub(now))
	}
	return a.wait(now)
}

// wait is how long it takes until one more message may be sent. The far side
// counts a message at some time while it is on its way: so it counts here for
// as long as it is, and then from its end on.
func (a *account) wait(now time.Time) time.Duration {
	if limit := a.rate.at(now, a.limits.Rate.Messages); limit > 0 && a.sent(now) >= limit {
		// The end of a message wakes by itself.
		return cmp.Or(a.recent.relief(now), time.Second)
	}
	if a.limits.PerDay > 0 && a.day.total(now) >= a.limits.PerDay {
		return a.day.relief(now)
	}
	return 0
}

// sent is how many messages count against the rate.
func (a *account) sent(now time.Time) int { return a.recent.total(now) + a.sending }

// began counts a message that goes out.
func (a *account) began() { a.sending++ }

// ended counts a message that has gone out, or tried to.
func (a *account) ended(now time.Time) {
	a.sending--
	a.recent.add(now, 1)
}

// notSent takes back what was counted by began.
func (a *account) notSent() { a.sending-- }

// addressed counts the recipients of a message that goes out.
func (a *account) addressed(now time.Time, recipients int) {
	a.day.add(now, recipients)
	a.unsaved += recipients
}

// notAddressed takes back what was counted by addressed at that time.
func (a *account) notAddressed(at time.Time, recipients int) { a.day.takeBack(at, recipients) }

// tooMany learns that as many connections as there are were more than may be.
func (a *account) tooMany(now time.Time) {
	a.connections = learned{max(1, min(a.sending, a.slots(now))-1), now}
}

// throttled learns that the messages sent lately were too many.
func (a *account) throttled(now time.Time) {
	const least = 10
	a.rate = learned{max(least, a.sent(now)/2), now}
}

// used tells whether it counts anything, or has learned something.
func (a *account) used(now time.Time) bool {
	return a.gate.closed() || a.sending+a.recent.total(now)+a.day.total(now)+a.connections.Limit+a.rate.Limit > 0
}
