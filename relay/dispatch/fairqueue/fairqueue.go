// Package fairqueue holds what waits to be sent, and in which order it goes
// out: flow by flow in turn, so that a chatty client starves nobody, and small
// mail past large.
//
// It must not know replies, routes or when the server takes mail: its caller
// says what may go. Nothing in it has a lock.
package fairqueue

import "slices"

// Flow is whose mail takes turns: a client's, and within that each account's,
// so that an account which must wait holds up no other.
type Flow struct {
	Client  uint64 // see queue.ClientOf
	Account string // empty where it is not known, or there are none
}

// FairQueue holds values flow by flow: each flow in its order, and the flows in
// turn.
type FairQueue[T comparable] struct {
	turns   []Flow // the next one first
	waiting map[Flow][]T
	size    int
}

// New returns an empty queue.
func New[T comparable]() *FairQueue[T] { return &FairQueue[T]{waiting: make(map[Flow][]T)} }

// Len is how many values wait.
func (q *FairQueue[T]) Len() int { return q.size }

// Push adds a value at the end of its flow.
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

// Pop takes the first value of the first flow in turn whose first value is
// allowed to go.
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

// Remove takes a value out of its flow, if it is there.
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
