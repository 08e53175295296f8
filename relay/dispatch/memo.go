package dispatch

import (
	"encoding/json"
	"slices"
	"time"

	"sealpost/relay/spool"
)

// memo is what must survive a restart: the memo of each route's throttle by the
// route's name.
type memo struct {
	Routes map[string]json.RawMessage `json:"routes"`
}

// memo returns the memo of all routes, within spool.MaxMemo octets, of which each
// route has its share. It is nil if there is nothing to store. The caller holds mu.
func (d *Dispatcher) memo(now time.Time) []byte {
	const frame, frameOfRoute = len(`{"routes":{}}`), len(`"":,`)
	all, left := memo{Routes: make(map[string]json.RawMessage)}, spool.MaxMemo-frame
	for i, r := range d.routes {
		name := frameOfRoute + len(r.Name)
		if text := r.throttle.Memo(now, left/(len(d.routes)-i)-name); text != nil {
			all.Routes[r.Name] = text
			left -= name + len(text)
		}
	}
	text, err := json.Marshal(all)
	if err != nil || len(all.Routes) == 0 {
		return nil
	}
	return text
}

// restoreMemo loads the memo of an earlier run. One without names was written when
// there was a single route. The caller holds mu.
func (d *Dispatcher) restoreMemo(text []byte, now time.Time) {
	var all memo
	if json.Unmarshal(text, &all) != nil || all.Routes == nil {
		d.routes[0].throttle.Restore(text, now)
		return
	}
	for _, r := range d.routes {
		r.throttle.Restore(all.Routes[r.Name], now)
	}
}

// saveMemoWhenDue writes the memo in the background, so that no delivery waits for
// flash. One writer at a time keeps the memos in order. The caller holds mu.
func (d *Dispatcher) saveMemoWhenDue(now time.Time) {
	due := slices.ContainsFunc(d.routes, func(r *Route) bool { return r.throttle.MemoDue() })
	if d.queue == nil || d.savingMemo || !due {
		return
	}
	d.savingMemo = true
	q, text := d.queue, d.memo(now)
	d.running.Go(func() {
		// Failed reports a failed flash; any other error only loses counts at a restart.
		_ = d.setMemo(q, text)
		d.mu.Lock()
		defer d.mu.Unlock()
		d.savingMemo = false
		d.saveMemoWhenDue(time.Now())
	})
}
