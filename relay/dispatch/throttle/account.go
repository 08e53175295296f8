package throttle

import (
	"cmp"
	"time"
)

// Account counts what is sent for one mailbox, or for all mail where the
// upstream knows no mailboxes, and says whether more may be sent. Replies that
// ask to slow down lower its limits; they rise again step by step.
type Account struct {
	Name    string // empty where the upstream knows no accounts
	Breaker *Breaker

	limits      Limits
	connections adaptiveLimit
	rate        adaptiveLimit
	sending     int    // messages that are being sent
	recent      window // messages that were sent
	day         window // recipients
	unsaved     int    // recipients since Throttle.Memo
}

// newAccount counts messages over one slot more than the rate is given for: the
// oldest slot is over only in part.
func newAccount(name string, limits Limits, retry Pauses) *Account {
	const slots = 60
	return &Account{Name: name, Breaker: NewBreaker(retry), limits: limits,
		recent: window{Slot: cmp.Or(limits.Rate.Per, time.Minute) / slots, Counts: make([]int, slots+1)},
		day:    window{Slot: time.Hour, Counts: make([]int, 24)}}
}

const (
	// recoveryStep is how long an adaptive limit stays before it rises.
	recoveryStep = 10 * time.Minute
	// unlimited is where an adaptive limit is lifted.
	unlimited = 10_000
)

// adaptiveLimit is a limit that a reply of the server lowered; a zero Limit is
// none.
type adaptiveLimit struct {
	Limit int       `json:"limit,omitempty"`
	Since time.Time `json:"since,omitzero"`
}

// at is the limit at that time, which rises by half with each step. configured
// is the limit of the configuration; 0 is none.
func (l adaptiveLimit) at(now time.Time, configured int) int {
	// A Since in the future was noted by a clock set wrong.
	if l.Limit == 0 || l.Since.Sub(now) > recoveryStep {
		return configured
	}
	limit := l.Limit
	for since := l.Since; since.Add(recoveryStep).Before(now) && (configured == 0 || limit < configured); since = since.Add(recoveryStep) {
		limit += (limit + 1) / 2
		if limit > unlimited {
			return configured
		}
	}
	if configured > 0 {
		return min(limit, configured)
	}
	return limit
}

// Slots is how many attempts may run at once.
func (a *Account) Slots(now time.Time) int {
	return max(1, a.connections.at(now, cmp.Or(a.limits.PerAccount, a.limits.Connections)))
}

// Allows reports whether one more attempt may begin now.
func (a *Account) Allows(now time.Time) bool {
	return a.Breaker.Allows(now) && a.sending < a.Slots(now) && a.LimitedFor(now) == 0
}

// RetryAfter is how long it takes until one more attempt may begin, by the
// limits and the breaker; 0 where nothing but the end of another attempt is to
// be waited for.
func (a *Account) RetryAfter(now time.Time) time.Duration {
	if a.Breaker.Held() {
		return max(a.LimitedFor(now), a.Breaker.until.Sub(now))
	}
	return a.LimitedFor(now)
}

// LimitedFor is how long it takes until the limits of rate and day let one more
// message through. The server counts a message at some time while it is being
// sent: so it counts here for that long, and then from its end on.
func (a *Account) LimitedFor(now time.Time) time.Duration {
	if limit := a.rate.at(now, a.limits.Rate.Messages); limit > 0 && a.sent(now) >= limit {
		// Where only messages being sent count, the end of one wakes the caller.
		return cmp.Or(a.recent.retryAfter(now), time.Second)
	}
	if a.limits.PerDay > 0 && a.day.total(now) >= a.limits.PerDay {
		return a.day.retryAfter(now)
	}
	return 0
}

// sent is how many messages count against the rate.
func (a *Account) sent(now time.Time) int { return a.recent.total(now) + a.sending }

// Begin counts a message whose attempt begins.
func (a *Account) Begin() { a.sending++ }

// End counts a message whose attempt has ended.
func (a *Account) End(now time.Time) {
	a.sending--
	a.recent.add(now, 1)
}

// Cancel undoes Begin where the server never heard of the message.
func (a *Account) Cancel() { a.sending-- }

// AddRecipients counts the recipients of a message that is being sent.
func (a *Account) AddRecipients(now time.Time, n int) {
	a.day.add(now, n)
	a.unsaved += n
}

// SubtractRecipients undoes AddRecipients of that time where the server never
// heard of the message.
func (a *Account) SubtractRecipients(at time.Time, n int) { a.day.subtract(at, n) }

// TooManyConnections lowers the limit below the connections in use.
func (a *Account) TooManyConnections(now time.Time) {
	a.connections = adaptiveLimit{max(1, min(a.sending, a.Slots(now))-1), now}
}

// SlowDown halves the rate at which messages were sent lately.
func (a *Account) SlowDown(now time.Time) {
	const least = 10
	a.rate = adaptiveLimit{max(least, a.sent(now)/2), now}
}

// inUse reports whether the account counts anything, is limited or held back.
func (a *Account) inUse(now time.Time) bool {
	return a.Breaker.Held() || a.sending+a.recent.total(now)+a.day.total(now)+a.connections.Limit+a.rate.Limit > 0
}
