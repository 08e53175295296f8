package throttle

import (
	"cmp"
	"time"
)

// Account counts what is sent for one mailbox, or for all mail if the upstream
// has no accounts, and decides whether more may be sent. Replies that ask to
// slow down lower its limits, which then rise step by step.
type Account struct {
	Name    string // empty if the upstream has no accounts
	Breaker *Breaker

	limits      Limits
	connections adaptiveLimit
	rate        adaptiveLimit
	inFlight    int    // messages being sent
	recent      window // messages sent
	day         window // recipients
	unsaved     int    // recipients since Throttle.Memo
}

// newAccount counts messages over one slot more than the rate's period, because
// the oldest slot has passed only in part.
func newAccount(name string, limits Limits, retry Delays) *Account {
	const slots = 60
	return &Account{Name: name, Breaker: NewBreaker(retry), limits: limits,
		recent: window{Slot: cmp.Or(limits.Rate.Per, time.Minute) / slots, Counts: make([]int, slots+1)},
		day:    window{Slot: time.Hour, Counts: make([]int, 24)}}
}

const (
	// recoveryStep is the time after which an adaptive limit rises.
	recoveryStep = 10 * time.Minute
	// unlimited is the value from which an adaptive limit no longer applies.
	unlimited = 10_000
)

// adaptiveLimit is a limit lowered by a server's reply; Limit 0 means none.
type adaptiveLimit struct {
	Limit int       `json:"limit,omitempty"`
	Since time.Time `json:"since,omitzero"`
}

// at returns the limit at now. It rises by half with each step, up to the
// configured limit (0 = none).
func (l adaptiveLimit) at(now time.Time, configured int) int {
	// A Since in the future was stored while the clock was wrong.
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

// Slots returns how many attempts may run at once.
func (a *Account) Slots(now time.Time) int {
	return max(1, a.connections.at(now, cmp.Or(a.limits.PerAccount, a.limits.Connections)))
}

// Allows reports whether one more attempt may begin now.
func (a *Account) Allows(now time.Time) bool {
	return a.Breaker.Allows(now) && a.inFlight < a.Slots(now) && a.LimitedFor(now) == 0
}

// RetryAfter returns how long the limits and the breaker delay the next attempt. It is
// 0 also if the next attempt only has to wait for the end of another.
func (a *Account) RetryAfter(now time.Time) time.Duration {
	if a.Breaker.Held() {
		return max(a.LimitedFor(now), a.Breaker.until.Sub(now))
	}
	return a.LimitedFor(now)
}

// LimitedFor returns how long the limits of rate and day delay the next
// message. The server counts a message at some time during its transaction, so
// it counts here during the transaction and from its end on.
func (a *Account) LimitedFor(now time.Time) time.Duration {
	if limit := a.rate.at(now, a.limits.Rate.Messages); limit > 0 && a.sent(now) >= limit {
		// If only messages in flight count, the end of one wakes the caller.
		return cmp.Or(a.recent.retryAfter(now), time.Second)
	}
	if a.limits.PerDay > 0 {
		switch total := a.day.total(now); {
		case total >= a.limits.PerDay:
			return a.day.retryAfter(now)
		case total+a.inFlight >= a.limits.PerDay:
			// The recipients of a message are counted some time after its Begin; the end of
			// one wakes the caller.
			return time.Second
		}
	}
	return 0
}

// sent returns how many messages count against the rate.
func (a *Account) sent(now time.Time) int { return a.recent.total(now) + a.inFlight }

// Begin counts a message whose attempt starts.
func (a *Account) Begin() { a.inFlight++ }

// End counts a message whose attempt has ended.
func (a *Account) End(now time.Time) {
	a.inFlight--
	a.recent.add(now, 1)
}

// Cancel undoes Begin for a message that was never offered to the server.
func (a *Account) Cancel() { a.inFlight-- }

// AddRecipients counts the recipients of a message being sent.
func (a *Account) AddRecipients(now time.Time, n int) {
	a.day.add(now, n)
	a.unsaved += n
}

// SubtractRecipients undoes AddRecipients at that time for a message that was
// never offered to the server.
func (a *Account) SubtractRecipients(at time.Time, n int) { a.day.subtract(at, n) }

// TooManyConnections lowers the connection limit below the connections in use.
func (a *Account) TooManyConnections(now time.Time) {
	a.connections = adaptiveLimit{max(1, min(a.inFlight, a.Slots(now))-1), now}
}

// SlowDown lowers the rate limit to half the recent rate.
func (a *Account) SlowDown(now time.Time) {
	const minRate = 10
	a.rate = adaptiveLimit{max(minRate, a.sent(now)/2), now}
}

// inUse reports whether the account has counts, lowered limits or a tripped
// breaker.
func (a *Account) inUse(now time.Time) bool {
	return a.Breaker.Held() || a.inFlight+a.recent.total(now)+a.day.total(now)+a.connections.Limit+a.rate.Limit > 0
}
