package fairqueue

import (
	"container/heap"
	"time"

	"sealpost/relay/queue"
)

// LargeSize is the size from which a message counts as large, in octets. Large
// mail never occupies all connections, so that small mail can overtake it.
const LargeSize = 1 << 20

// Backlog is the schedule of queued mail: due messages, small and large apart,
// and messages that wait for their next attempt.
type Backlog struct {
	small, large *FairQueue[queue.Ticket]
	later        delayed
	assignments  map[queue.ID]Assignment // only those that are not zero
	messages     map[routeAccount]int
}

// routeAccount is an account of one route.
type routeAccount struct {
	route int
	name  string
}

// NewBacklog returns an empty schedule.
func NewBacklog() *Backlog {
	return &Backlog{small: New[queue.Ticket](), large: New[queue.Ticket](),
		assignments: make(map[queue.ID]Assignment), messages: make(map[routeAccount]int)}
}

// Assign records the assignment of a message that is not on the schedule.
func (b *Backlog) Assign(id queue.ID, to Assignment) {
	if b.assignments[id] == to {
		return
	}
	b.count(b.assignments[id], -1)
	b.count(to, 1)
	b.assignments[id] = to
	if to == (Assignment{}) {
		delete(b.assignments, id)
	}
}

// Forget drops the assignment of a message that has left the spool.
func (b *Backlog) Forget(id queue.ID) { b.Assign(id, Assignment{}) }

// count adds n to the messages of each account.
func (b *Backlog) count(a Assignment, n int) {
	for route, name := range a.Accounts {
		if name == "" {
			continue
		}
		key := routeAccount{route, name}
		if b.messages[key] += n; b.messages[key] == 0 {
			delete(b.messages, key)
		}
	}
}

// Assignment returns what Assign recorded.
func (b *Backlog) Assignment(id queue.ID) Assignment { return b.assignments[id] }

// Messages returns how many messages are known to belong to a route's account.
func (b *Backlog) Messages(route int, account string) int {
	return b.messages[routeAccount{route, account}]
}

// Assigned returns how many messages have a known assignment.
func (b *Backlog) Assigned() int { return len(b.assignments) }

// queueOf returns the queue for tickets of that size.
func (b *Backlog) queueOf(t queue.Ticket) *FairQueue[queue.Ticket] {
	if t.Size >= LargeSize {
		return b.large
	}
	return b.small
}

func (b *Backlog) flow(t queue.Ticket) Flow { return Flow{t.Client, b.assignments[t.ID]} }

// Push adds a due ticket to the end of its flow.
func (b *Backlog) Push(t queue.Ticket) { b.queueOf(t).Push(b.flow(t), t) }

// PushFront returns a ticket to the front of its flow, which preserves the
// order.
func (b *Backlog) PushFront(t queue.Ticket) { b.queueOf(t).PushFront(b.flow(t), t) }

// Pop removes and returns the next allowed ticket: small mail first, unless
// largeFirst. Large mail is considered only if withLarge.
func (b *Backlog) Pop(allowed func(queue.Ticket) bool, withLarge, largeFirst bool) (queue.Ticket, bool) {
	if withLarge && largeFirst {
		if t, found := b.large.Pop(allowed); found {
			return t, true
		}
	}
	if t, found := b.small.Pop(allowed); found {
		return t, true
	}
	if withLarge {
		return b.large.Pop(allowed)
	}
	return queue.Ticket{}, false
}

// Due returns how many messages may be sent now.
func (b *Backlog) Due() int { return b.small.Len() + b.large.Len() }

// Later returns how many messages wait for their next attempt.
func (b *Backlog) Later() int { return len(b.later) }

// NextDue returns when the next waiting message is due.
func (b *Backlog) NextDue() (due time.Time, found bool) {
	if len(b.later) == 0 {
		return time.Time{}, false
	}
	return b.later[0].due, true
}

// Postpone schedules a ticket for due.
func (b *Backlog) Postpone(t queue.Ticket, due time.Time) {
	heap.Push(&b.later, delayedTicket{t, due})
}

// Advance moves the tickets that are due at now into the queues.
func (b *Backlog) Advance(now time.Time) {
	for len(b.later) > 0 && !b.later[0].due.After(now) {
		b.Push(heap.Pop(&b.later).(delayedTicket).ticket)
	}
}

// TakeLater removes the matching tickets that are not yet due and returns them by
// due time.
func (b *Backlog) TakeLater(match func(queue.Ticket) bool) []queue.Ticket {
	var taken []queue.Ticket
	waiting := b.later
	b.later = nil
	for len(waiting) > 0 {
		d := heap.Pop(&waiting).(delayedTicket)
		if match(d.ticket) {
			taken = append(taken, d.ticket)
		} else {
			b.later = append(b.later, d)
		}
	}
	return taken
}

type delayedTicket struct {
	ticket queue.Ticket
	due    time.Time
}

// delayed is a heap ordered by due time.
type delayed []delayedTicket

// Len implements heap.Interface.
func (d delayed) Len() int { return len(d) }

// Less implements heap.Interface.
func (d delayed) Less(i, j int) bool { return d[i].due.Before(d[j].due) }

// Swap implements heap.Interface.
func (d delayed) Swap(i, j int) { d[i], d[j] = d[j], d[i] }

// Push implements heap.Interface.
func (d *delayed) Push(x any) { *d = append(*d, x.(delayedTicket)) }

// Pop implements heap.Interface.
func (d *delayed) Pop() any {
	last := len(*d) - 1
	x := (*d)[last]
	*d = (*d)[:last]
	return x
}
