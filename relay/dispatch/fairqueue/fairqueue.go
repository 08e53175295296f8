// Package fairqueue orders the messages that wait to be sent: flows take turns,
// so that one busy client cannot starve the others, and small mail overtakes
// large.
//
// It must not know replies, how a route sends or when the server accepts mail: its
// caller decides which values are allowed. Nothing in it has a lock.
package fairqueue

import "slices"

// MaxRoutes is the number of routes that a message may have accounts on.
const MaxRoutes = 4

// Assignment is what decides where a message waits: the accounts that it counts
// against, and whether it is bound to one route. The zero value means that nothing
// is known.
type Assignment struct {
	Accounts [MaxRoutes]string // by route; empty if unknown, or if its upstream has no accounts
	Bound    int               // 1 + the number of the only route that may send it; 0 if any may
	Barred   uint8             // a bit for each route that does not take its recipients
}

// Free returns the assignment of the message once it is bound to no route.
func (a Assignment) Free() Assignment {
	a.Bound = 0
	return a
}

// Flow identifies mail that keeps its order: one client's mail of the same
// assignment. A flow that must wait does not block the client's others.
type Flow struct {
	Client uint64 // see queue.ClientOf
	Assignment
}

// FairQueue holds values by flow: in order within a flow, and the flows in
// turn.
type FairQueue[T comparable] struct {
	turns   []Flow // next flow first
	waiting map[Flow][]T
	size    int
}

// New returns an empty queue.
func New[T comparable]() *FairQueue[T] { return &FairQueue[T]{waiting: make(map[Flow][]T)} }

// Len returns the number of values.
func (q *FairQueue[T]) Len() int { return q.size }

// Push adds a value to the end of its flow.
func (q *FairQueue[T]) Push(f Flow, value T) {
	if len(q.waiting[f]) == 0 {
		q.turns = append(q.turns, f)
	}
	q.waiting[f] = append(q.waiting[f], value)
	q.size++
}

// PushFront returns a value to the front of its flow.
func (q *FairQueue[T]) PushFront(f Flow, value T) {
	q.Push(f, value)
	waiting := q.waiting[f]
	copy(waiting[1:], waiting)
	waiting[0] = value
}

// Pop removes and returns the first value of the next flow whose first value is
// allowed.
func (q *FairQueue[T]) Pop(allowed func(T) bool) (first T, found bool) {
	turn := slices.IndexFunc(q.turns, func(f Flow) bool { return allowed(q.waiting[f][0]) })
	if turn < 0 {
		return first, false
	}
	f := q.turns[turn]
	q.turns = slices.Delete(q.turns, turn, turn+1)
	waiting := q.waiting[f]
	first = waiting[0]
	if len(waiting) == 1 {
		delete(q.waiting, f)
	} else {
		q.waiting[f] = waiting[1:]
		q.turns = append(q.turns, f)
	}
	q.size--
	return first, true
}

// Remove removes a value from its flow, if present.
func (q *FairQueue[T]) Remove(f Flow, value T) {
	i := slices.Index(q.waiting[f], value)
	if i < 0 {
		return
	}
	q.size--
	if q.waiting[f] = slices.Delete(q.waiting[f], i, i+1); len(q.waiting[f]) == 0 {
		delete(q.waiting, f)
		q.turns = slices.DeleteFunc(q.turns, func(each Flow) bool { return each == f })
	}
}
