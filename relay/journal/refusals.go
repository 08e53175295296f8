package journal

import (
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"sealpost/relay/envelope"
)

// A client can cause refusals as fast as it connects. Only some are recorded one by
// one, so that they do not displace the events of deliveries; the rest are counted.
const (
	refusalPeriod   = time.Minute
	maxPerClient    = 10  // refusals of a kind and a client that a period shows
	maxPerPeriod    = 100 // refusals that a period shows
	maxNew          = 50  // more, of clients that it has not shown
	maxHiddenClient = 1000
)

// refusals counts the refusals of the current period.
type refusals struct {
	mu     sync.Mutex
	begun  time.Time
	shown  map[refusal]int
	total  int // of shown
	hidden int
	from   map[netip.Prefix]struct{} // clients of the hidden ones, at most maxHiddenClient
}

type refusal struct {
	name   Event
	client netip.Prefix
}

// show counts a refusal and reports whether to record it.
func (r *refusals) show(k refusal) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.begun.IsZero() {
		r.begun, r.shown, r.from = time.Now(), map[refusal]int{}, map[netip.Prefix]struct{}{}
		r.total, r.hidden = 0, 0
	}
	isNew := r.shown[k] == 0
	if r.shown[k] < maxPerClient && (r.total < maxPerPeriod || isNew && r.total < maxPerPeriod+maxNew) {
		r.shown[k]++
		r.total++
		return true
	}
	r.hidden++
	if len(r.from) < maxHiddenClient {
		r.from[k.client] = struct{}{}
	}
	return false
}

// end ends the period if it is over, and returns what it has hidden.
func (r *refusals) end(now time.Time) (hidden, clients int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.begun.IsZero() || now.Sub(r.begun) < refusalPeriod {
		return 0, 0
	}
	hidden, clients = r.hidden, len(r.from)
	r.begun = time.Time{}
	return hidden, clients
}

// refusal records what a client was refused, or a session without a message.
func (j *Journal) refusal(level slog.Level, name Event, client netip.Addr, attrs ...slog.Attr) {
	j.sumUp()
	if j.refusals.show(refusal{name, envelope.ClientNetwork(client)}) {
		j.event(level, name, append([]slog.Attr{clientAttr(client)}, attrs...)...)
	}
}

// sumUp records how many refusals the last period has hidden, once.
func (j *Journal) sumUp() {
	if hidden, clients := j.refusals.end(time.Now()); hidden > 0 {
		j.event(slog.LevelWarn, EventRefusalsNotShown, slog.Int("count", hidden), slog.Int("clients", clients))
	}
}
