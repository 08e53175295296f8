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

// party is whose mail takes turns: a client's, and of that each account's apart,
// so that an account which must wait holds up no other.
type party struct {
	client  uint64
	account string
}

// lane holds what is due, party by party: each one's in their order, and the
// parties in turn, so that a chatty client starves nobody.
type lane[T comparable] struct {
	turns   []party // the next one first
	waiting map[party][]T
	size    int
}

func newLane[T comparable]() *lane[T] { return &lane[T]{waiting: make(map[party][]T)} }

func (l *lane[T]) push(p party, one T) {
	if len(l.waiting[p]) == 0 {
		l.turns = append(l.turns, p)
	}
	l.waiting[p] = append(l.waiting[p], one)
	l.size++
}

// pushFront gives one its turn back.
func (l *lane[T]) pushFront(p party, one T) {
	l.push(p, one)
	waiting := l.waiting[p]
	copy(waiting[1:], waiting)
	waiting[0] = one
}

// pop gives the next one of the first party in turn whose next one may go.
func (l *lane[T]) pop(may func(T) bool) (first T, some bool) {
	turn := slices.IndexFunc(l.turns, func(p party) bool { return may(l.waiting[p][0]) })
	if turn < 0 {
		return first, false
	}
	p := l.turns[turn]
	l.turns = slices.Delete(l.turns, turn, turn+1)
	waiting := l.waiting[p]
	first = waiting[0]
	if len(waiting) == 1 {
		delete(l.waiting, p)
	} else {
		l.waiting[p] = waiting[1:]
		l.turns = append(l.turns, p)
	}
	l.size--
	return first, true
}

// remove takes one out of its turn.
func (l *lane[T]) remove(p party, one T) {
	i := slices.Index(l.waiting[p], one)
	if i < 0 {
		return
	}
	l.size--
	if l.waiting[p] = slices.Delete(l.waiting[p], i, i+1); len(l.waiting[p]) == 0 {
		delete(l.waiting, p)
		l.turns = slices.DeleteFunc(l.turns, func(each party) bool { return each == p })
	}
}

// backlog is the mail in the spool as the schedule sees it.
type backlog struct {
	small, large *lane[queue.Ticket]
	later        later
	owners       map[queue.ID]string // accounts, as far as they are known and named
	owned        map[string]int      // messages, by account
}

func newBacklog() *backlog {
	return &backlog{small: newLane[queue.Ticket](), large: newLane[queue.Ticket](), owners: make(map[queue.ID]string), owned: make(map[string]int)}
}

// own notes the account of a message; one without a name is none.
func (b *backlog) own(id queue.ID, account string) {
	if account == "" || b.owners[id] == account {
		return
	}
	b.disown(id)
	b.owners[id] = account
	b.owned[account]++
}

// disown forgets the account of a message that is gone.
func (b *backlog) disown(id queue.ID) {
	account, known := b.owners[id]
	if !known {
		return
	}
	delete(b.owners, id)
	if b.owned[account]--; b.owned[account] == 0 {
		delete(b.owned, account)
	}
}

func (b *backlog) party(t queue.Ticket) party { return party{t.Client, b.owners[t.ID]} }

func (b *backlog) push(t queue.Ticket) {
	if t.Size >= large {
		b.large.push(b.party(t), t)
		return
	}
	b.small.push(b.party(t), t)
}

// putBack returns a ticket that was popped: to the front, so that its party's
// order is kept, or behind others that may fare better.
func (b *backlog) putBack(t queue.Ticket, front bool) {
	switch {
	case !front:
		b.push(t)
	case t.Size >= large:
		b.large.pushFront(b.party(t), t)
	default:
		b.small.pushFront(b.party(t), t)
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
