// Package throttle decides how much may be sent over a route: it counts
// connections, messages and recipients against the server's limits, lowers the
// limits when the server asks for it, and holds mail back while the server
// accepts none (a circuit breaker).
//
// It knows accounts by their names and attempts as opaque values. It must not
// know messages, queues or how mail is sent. Nothing in it has a lock: one
// mutex of the caller guards a Throttle and everything that belongs to it.
package throttle

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"time"
)

// Limits are the server's known limits; 0 means none.
type Limits struct {
	Connections int  // concurrent, in total
	PerAccount  int  // concurrent, for one account
	Rate        Rate // for one account
	PerDay      int  // recipients in 24 hours, for one account
}

// Rate is a number of messages in any period of length Per.
type Rate struct {
	Messages int
	Per      time.Duration // 0 means one minute
}

// Throttle holds the accounts that messages count against.
type Throttle struct {
	limits   Limits
	retry    Delays
	accounts map[string]*Account
}

// New returns a throttle without counts. retry applies to the breakers of its
// accounts.
func New(limits Limits, retry Delays) *Throttle {
	return &Throttle{limits: limits, retry: retry, accounts: make(map[string]*Account)}
}

// maxAccounts is how many accounts are tracked; any others share the account
// named "".
const maxAccounts = 64

// Account returns the account of that name. It is kept while it is in use.
func (t *Throttle) Account(name string, now time.Time) *Account {
	if existing := t.accounts[name]; existing != nil {
		return existing
	}
	if name != "" && len(t.accounts) >= maxAccounts {
		maps.DeleteFunc(t.accounts, func(_ string, a *Account) bool { return !a.inUse(now) })
		if len(t.accounts) >= maxAccounts {
			return t.Account("", now)
		}
	}
	t.accounts[name] = newAccount(name, t.limits, t.retry)
	return t.accounts[name]
}

// Forget drops what the account's breaker recorded for a message.
func (t *Throttle) Forget(account, id string) {
	if existing := t.accounts[account]; existing != nil {
		existing.Breaker.Forget(id)
	}
}

// Slots returns how many attempts may run at once: the sum of the accounts in
// use, up to the limit of the route.
func (t *Throttle) Slots(now time.Time) int {
	slots := 0
	for _, a := range t.accounts {
		if a.inUse(now) {
			slots += a.Slots(now)
		}
	}
	if slots == 0 {
		slots = newAccount("", t.limits, t.retry).Slots(now)
	}
	return min(slots, max(1, t.limits.Connections))
}

// RetryAfter returns how long until the next limited or held account may send;
// 0 if there is none.
func (t *Throttle) RetryAfter(now time.Time) time.Duration {
	first := time.Duration(0)
	for _, a := range t.accounts {
		if wait := a.RetryAfter(now); wait > 0 && (first == 0 || wait < first) {
			first = wait
		}
	}
	return first
}

// Held returns the accounts whose mail is held back, sorted by name.
func (t *Throttle) Held() []*Account {
	var held []*Account
	for _, name := range slices.Sorted(maps.Keys(t.accounts)) {
		if a := t.accounts[name]; a.Breaker.Held() {
			held = append(held, a)
		}
	}
	return held
}

// Recipients returns the number of recipients counted in the last 24 hours.
func (t *Throttle) Recipients(now time.Time) int {
	total := 0
	for _, a := range t.accounts {
		total += a.day.total(now)
	}
	return total
}

// memo is the state of an account that must survive a restart.
type memo struct {
	Connections adaptiveLimit `json:"connections,omitzero"`
	Rate        adaptiveLimit `json:"rate,omitzero"`
	Day         window        `json:"day"`
}

// MemoDue reports whether enough was counted since the last Memo to write a new
// one. Without a daily limit the counts are not needed, which spares the flash.
func (t *Throttle) MemoDue() bool {
	for _, a := range t.accounts {
		if t.limits.PerDay > 0 && a.unsaved > t.limits.PerDay/100 {
			return true
		}
	}
	return false
}

// MemoNeeded reports whether a restart without a new memo would lose counts or
// lowered limits.
func (t *Throttle) MemoNeeded() bool {
	for _, a := range t.accounts {
		if t.limits.PerDay > 0 && a.unsaved > 0 || a.connections.Limit > 0 || a.rate.Limit > 0 {
			return true
		}
	}
	return false
}

// Memo returns the state that must survive a restart as JSON for Restore, at most
// longest octets: accounts with the most recipients first, as many as fit. Accounts
// that do not fit count as saved too, because another memo could not hold them
// either.
func (t *Throttle) Memo(now time.Time, longest int) []byte {
	names := slices.SortedFunc(maps.Keys(t.accounts), func(a, b string) int {
		return cmp.Or(t.accounts[b].day.total(now)-t.accounts[a].day.total(now), cmp.Compare(a, b))
	})
	for _, a := range t.accounts {
		a.unsaved = 0
	}
	memos, largest := make(map[string]memo), []byte(nil)
	for _, name := range names {
		a := t.accounts[name]
		memos[name] = memo{a.connections, a.rate, a.day}
		text, err := json.Marshal(memos)
		if err != nil || len(text) > longest {
			break
		}
		largest = text
	}
	return largest
}

// Restore loads the memo of an earlier run. Accounts that cannot be read start
// at zero.
func (t *Throttle) Restore(text []byte, now time.Time) {
	var memos map[string]memo
	if len(text) == 0 || json.Unmarshal(text, &memos) != nil {
		return
	}
	for name, m := range memos {
		a := t.Account(name, now)
		if len(m.Day.Counts) == len(a.day.Counts) && m.Day.Slot == a.day.Slot {
			a.connections, a.rate, a.day = m.Connections, m.Rate, m.Day
		}
	}
}
