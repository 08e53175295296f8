package dispatch

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"sealpost/relay/spool"
)

// Limits are the far side's, as far as they are known beforehand; 0 is none.
type Limits struct {
	Connections int  // at once, in all
	PerAccount  int  // of them for one account
	Rate        Rate // of one account
	PerDay      int  // recipients of one account
}

// Rate is so many messages in any stretch of time that long; none is a minute.
type Rate struct {
	Messages int
	Per      time.Duration
}

// ledger keeps the accounts that messages count against, by the names that the
// upstream gives them.
type ledger struct {
	limits   Limits
	retry    Retry
	accounts map[string]*account
}

func newLedger(limits Limits, retry Retry) *ledger {
	return &ledger{limits: limits, retry: retry, accounts: make(map[string]*account)}
}

// mostAccounts are kept at once; what goes beyond shares the one without a name.
const mostAccounts = 64

// of gives the account of that name, which keeps its place as long as it counts
// anything.
func (l *ledger) of(name string, now time.Time) *account {
	if known := l.accounts[name]; known != nil {
		return known
	}
	if name != "" && len(l.accounts) >= mostAccounts {
		maps.DeleteFunc(l.accounts, func(_ string, a *account) bool { return !a.used(now) })
		if len(l.accounts) >= mostAccounts {
			return l.of("", now)
		}
	}
	l.accounts[name] = newAccount(name, l.limits, l.retry)
	return l.accounts[name]
}

// slots is how many attempts may run at once, in all: what the accounts in use
// allow together.
func (l *ledger) slots(now time.Time) int {
	slots := 0
	for _, a := range l.accounts {
		if a.used(now) {
			slots += a.slots(now)
		}
	}
	if slots == 0 {
		slots = newAccount("", l.limits, l.retry).slots(now)
	}
	return min(slots, max(1, l.limits.Connections))
}

// relief is how long it takes until the next account that must wait may send; 0
// where none must.
func (l *ledger) relief(now time.Time) time.Duration {
	relief := time.Duration(0)
	for _, a := range l.accounts {
		if wait := a.relief(now); wait > 0 && (relief == 0 || wait < relief) {
			relief = wait
		}
	}
	return relief
}

// held are the accounts whose gates are closed, by their names.
func (l *ledger) held() []*account {
	var held []*account
	for _, name := range slices.Sorted(maps.Keys(l.accounts)) {
		if a := l.accounts[name]; a.gate.closed() {
			held = append(held, a)
		}
	}
	return held
}

// recipients are those of the last day.
func (l *ledger) recipients(now time.Time) int {
	total := 0
	for _, a := range l.accounts {
		total += a.day.total(now)
	}
	return total
}

// memo is what of an account must outlive a restart.
type memo struct {
	Connections learned `json:"connections,omitzero"`
	Rate        learned `json:"rate,omitzero"`
	Day         window  `json:"day"`
}

// due tells whether enough was counted to be saved. Without a limit on the day
// nobody needs the counts, and flash is not touched.
func (l *ledger) due() bool {
	for _, a := range l.accounts {
		if l.limits.PerDay > 0 && a.unsaved > l.limits.PerDay/100 {
			return true
		}
	}
	return false
}

// worthSaving tells whether a restart would forget something.
func (l *ledger) worthSaving() bool {
	for _, a := range l.accounts {
		if l.limits.PerDay > 0 && a.unsaved > 0 || a.connections.Limit > 0 || a.rate.Limit > 0 {
			return true
		}
	}
	return false
}

// save gives the memos by the accounts' names: those with the most recipients
// first, as many as the spool takes.
func (l *ledger) save(now time.Time) []byte {
	names := slices.SortedFunc(maps.Keys(l.accounts), func(a, b string) int {
		return cmp.Or(l.accounts[b].day.total(now)-l.accounts[a].day.total(now), cmp.Compare(a, b))
	})
	memos, saved := make(map[string]memo), []byte(nil)
	for _, name := range names {
		a := l.accounts[name]
		a.unsaved = 0
		memos[name] = memo{a.connections, a.rate, a.day}
		text, err := json.Marshal(memos)
		if err != nil || len(text) > spool.MaxMemo {
			break
		}
		saved = text
	}
	return saved
}

// restore takes up what a run before has saved. What cannot be read is
// counted anew.
func (l *ledger) restore(text []byte, now time.Time) {
	var memos map[string]memo
	if len(text) == 0 || json.Unmarshal(text, &memos) != nil {
		return
	}
	for name, m := range memos {
		a := l.of(name, now)
		if len(m.Day.Counts) == len(a.day.Counts) && m.Day.Slot == a.day.Slot {
			a.connections, a.rate, a.day = m.Connections, m.Rate, m.Day
		}
	}
}
