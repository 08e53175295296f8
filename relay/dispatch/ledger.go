package dispatch

import (
	"cmp"
	"encoding/json"
	"time"
)

// Limits are the far side's, as far as they are known beforehand; 0 is none.
type Limits struct {
	Connections int // at once
	Rate        Rate
	PerDay      int // recipients
}

// Rate is so many messages in any stretch of time that long; none is a minute.
type Rate struct {
	Messages int
	Per      time.Duration
}

// ledger counts what was sent and says whether more may be. What the far side
// answers teaches it lower limits than those it was given; they open again
// step by step.
type ledger struct {
	limits Limits

	connections learned
	rate        learned
	sending     int    // messages that are on their way
	recent      window // messages that came to their end
	day         window
	unsaved     int // recipients since the memo was written
}

// newLedger counts messages over one slot more than the rate is given for: the
// first one is over only in part.
func newLedger(limits Limits) *ledger {
	const slots = 60
	return &ledger{limits: limits,
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
func (l *ledger) slots(now time.Time) int { return max(1, l.connections.at(now, l.limits.Connections)) }

// wait is how long it takes until one more message may be sent. The far side
// counts a message at some time while it is on its way: so it counts here for
// as long as it is, and then from its end on.
func (l *ledger) wait(now time.Time) time.Duration {
	if limit := l.rate.at(now, l.limits.Rate.Messages); limit > 0 && l.sent(now) >= limit {
		// The end of a message wakes by itself.
		return cmp.Or(l.recent.relief(now), time.Second)
	}
	if l.limits.PerDay > 0 && l.day.total(now) >= l.limits.PerDay {
		return l.day.relief(now)
	}
	return 0
}

// sent is how many messages count against the rate.
func (l *ledger) sent(now time.Time) int { return l.recent.total(now) + l.sending }

// began counts a message that goes out.
func (l *ledger) began() { l.sending++ }

// ended counts a message that has gone out, or tried to.
func (l *ledger) ended(now time.Time) {
	l.sending--
	l.recent.add(now, 1)
}

// notSent takes back what was counted by began.
func (l *ledger) notSent() { l.sending-- }

// addressed counts the recipients of a message that goes out.
func (l *ledger) addressed(now time.Time, recipients int) {
	l.day.add(now, recipients)
	l.unsaved += recipients
}

// tooMany learns that so many connections were more than may be.
func (l *ledger) tooMany(now time.Time, open int) {
	l.connections = learned{max(1, min(open, l.slots(now))-1), now}
}

// throttled learns that the messages sent lately were too many.
func (l *ledger) throttled(now time.Time) {
	const least = 10
	l.rate = learned{max(least, l.sent(now)/2), now}
}

// memo is what of the ledger must outlive a restart.
type memo struct {
	Connections learned `json:"connections,omitzero"`
	Rate        learned `json:"rate,omitzero"`
	Day         window  `json:"day"`
}

// due tells whether enough was counted to be saved. Without a limit on the day
// nobody needs the counts, and flash is not touched.
func (l *ledger) due() bool {
	return l.limits.PerDay > 0 && l.unsaved > l.limits.PerDay/100
}

// worthSaving tells whether a restart would forget something.
func (l *ledger) worthSaving() bool {
	return l.limits.PerDay > 0 && l.unsaved > 0 || l.connections.Limit > 0 || l.rate.Limit > 0
}

func (l *ledger) save() []byte {
	text, err := json.Marshal(memo{l.connections, l.rate, l.day})
	if err != nil {
		return nil
	}
	l.unsaved = 0
	return text
}

// restore takes up what a run before has saved. What cannot be read is
// counted anew.
func (l *ledger) restore(text []byte) {
	var m memo
	if len(text) == 0 || json.Unmarshal(text, &m) != nil || len(m.Day.Counts) != len(l.day.Counts) || m.Day.Slot != l.day.Slot {
		return
	}
	l.connections, l.rate, l.day = m.Connections, m.Rate, m.Day
}

// window counts over the last len(Counts) slots of time.
type window struct {
	Slot   time.Duration `json:"slot"`
	Last   int64         `json:"last"` // the slot counted in last, since 1970
	Counts []int         `json:"counts"`
}

// advance forgets the slots that have passed. Where the clock was set back by
// more than the window, what was counted counts from now on.
func (w *window) advance(now time.Time) {
	slot, size := now.UnixNano()/int64(w.Slot), int64(len(w.Counts))
	if slot+size < w.Last {
		total := 0
		for i, n := range w.Counts {
			total, w.Counts[i] = total+n, 0
		}
		w.Last, w.Counts[slot%size] = slot, total
	}
	for passed := min(slot-w.Last, size); passed > 0; passed-- {
		w.Counts[(slot-passed+1)%size] = 0
	}
	w.Last = max(w.Last, slot)
}

func (w *window) add(now time.Time, n int) {
	w.advance(now)
	w.Counts[w.Last%int64(len(w.Counts))] += n
}

func (w *window) total(now time.Time) int {
	w.advance(now)
	total := 0
	for _, n := range w.Counts {
		total += n
	}
	return total
}

// relief is how long it takes until the oldest count is forgotten.
func (w *window) relief(now time.Time) time.Duration {
	w.advance(now)
	size := int64(len(w.Counts))
	for age := size - 1; age >= 0; age-- {
		if w.Counts[(w.Last-age+size)%size] > 0 {
			return time.Unix(0, (w.Last-age+size)*int64(w.Slot)).Sub(now)
		}
	}
	return 0
}
