package dispatch

import (
	"container/heap"
	"slices"
	"time"

	"sealpost/relay/queue"
)

// large is where a message counts as large, in octets: those never take all
// connections, so that small mail passes a large scan.
const large = 1 << 20

// lane holds what is due, client by client: each client's in their order, and
// the clients in turn, so that a chatty one starves nobody.
type lane[T comparable] struct {
	turns   []uint64 // clients, the next one first
	waiting map[uint64][]T
	size    int
}

func newLane[T comparable]() *lane[T] { return &lane[T]{waiting: make(map[uint64][]T)} }

func (l *lane[T]) push(client uint64, one T) {
	if len(l.waiting[client]) == 0 {
		l.turns = append(l.turns, client)
	}
	l.waiting[client] = append(l.waiting[client], one)
	l.size++
}

// pushFront gives one its turn back.
func (l *lane[T]) pushFront(client uint64, one T) {
	l.push(client, one)
	waiting := l.waiting[client]
	copy(waiting[1:], waiting)
	waiting[0] = one
}

// pop gives the next one of the first client in turn whose next one may go.
func (l *lane[T]) pop(may func(T) bool) (first T, some bool) {
	turn := slices.IndexFunc(l.turns, func(client uint64) bool { return may(l.waiting[client][0]) })
	if turn < 0 {
		return first, false
	}
	client := l.turns[turn]
	l.turns = slices.Delete(l.turns, turn, turn+1)
	waiting := l.waiting[client]
	first = waiting[0]
	if len(waiting) == 1 {
		delete(l.waiting, client)
	} else {
		l.waiting[client] = waiting[1:]
		l.turns = append(l.turns, client)
	}
	l.size--
	return first, true
}

// remove takes one out of its turn.
func (l *lane[T]) remove(client uint64, one T) {
	i := slices.Index(l.waiting[client], one)
	if i < 0 {
		return
	}
	l.size--
	if l.waiting[client] = slices.Delete(l.waiting[client], i, i+1); len(l.waiting[client]) == 0 {
		delete(l.waiting, client)
		l.turns = slices.DeleteFunc(l.turns, func(c uint64) bool { return c == client })
	}
}

// backlog is the mail in the spool as the schedule sees it.
type backlog struct {
	small, large *lane[queue.Ticket]
	later        later
}

func newBacklog() *backlog {
	return &backlog{small: newLane[queue.Ticket](), large: newLane[queue.Ticket]()}
}

func (b *backlog) push(t queue.Ticket) {
	if t.Size >= large {
		b.large.push(t.Client, t)
		return
	}
	b.small.push(t.Client, t)
}

// putBack returns a ticket that was popped: to the front, so that its client's
// order is kept, or behind others that may fare better.
func (b *backlog) putBack(t queue.Ticket, front bool) {
	switch {
	case !front:
		b.push(t)
	case t.Size >= large:
		b.large.pushFront(t.Client, t)
	default:
		b.small.pushFront(t.Client, t)
	}
}

// postpone keeps a ticket until it is due.
func (b *backlog) postpone(t queue.Ticket, due time.Time) { heap.Push(&b.later, postponed{t, due}) }

// wake makes due what has come to its time by now.
func (b *backlog) wake(now time.Time) {
	for len(b.later) > 0 && !b.later[0].due.After(now) {
		b.push(heap.Pop(&b.later).(postponed).ticket)
	}
}

// takeLater takes off the schedule what waits for its time and is wanted, the
// next one due first.
func (b *backlog) takeLater(wanted func(queue.Ticket) bool) []queue.Ticket {
	var taken []queue.Ticket
	waiting := b.later
	b.later = nil
	for len(waiting) > 0 {
		p := heap.Pop(&waiting).(postponed)
		if wanted(p.ticket) {
			taken = append(taken, p.ticket)
		} else {
			b.later = append(b.later, p)
		}
	}
	return taken
}

// pop gives the next ticket that may go: small mail first, but not for ever.
func (b *backlog) pop(may func(queue.Ticket) bool, largeMay, largeFirst bool) (queue.Ticket, bool) {
	if largeMay && largeFirst {
		if t, some := b.large.pop(may); some {
			return t, true
		}
	}
	if t, some := b.small.pop(may); some {
		return t, true
	}
	if largeMay {
		return b.large.pop(may)
	}
	return queue.Ticket{}, false
}

// due is how many messages wait for nothing but their turn.
func (b *backlog) due() int { return b.small.size + b.large.size }

// postponed is a ticket with its time.
type postponed struct {
	ticket queue.Ticket
	due    time.Time
}

// later is a heap, the next one due first.
type later []postponed

func (l later) Len() int           { return len(l) }
func (l later) Less(i, j int) bool { return l[i].due.Before(l[j].due) }
func (l later) Swap(i, j int)      { l[i], l[j] = l[j], l[i] }

// Push implements heap.Interface.
func (l *later) Push(x any) { *l = append(*l, x.(postponed)) }

// Pop implements heap.Interface.
func (l *later) Pop() any {
	last := len(*l) - 1
	x := (*l)[last]
	*l = (*l)[:last]
	return x
}
