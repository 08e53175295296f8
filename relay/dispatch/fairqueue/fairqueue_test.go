package fairqueue

import (
	"slices"
	"testing"
	"time"

	"sealpost/relay/queue"
)

func all(int) bool { return true }

// drain pops every allowed value.
func drain(q *FairQueue[int], allowed func(int) bool) []int {
	var popped []int
	for value, found := q.Pop(allowed); found; value, found = q.Pop(allowed) {
		popped = append(popped, value)
	}
	return popped
}

func TestFairQueue_AlternatesFlowsInOrder(t *testing.T) {
	q := New[int]()
	for value := range 4 {
		q.Push(Flow{Client: 1}, value)
	}
	q.Push(Flow{Client: 2}, 10)
	q.Push(Flow{Client: 1, Assignment: of("a", 0)}, 20)
	q.PushFront(Flow{Client: 1}, -1)
	if got := drain(q, all); !slices.Equal(got, []int{-1, 10, 20, 0, 1, 2, 3}) || q.Len() != 0 {
		t.Errorf("got %v, Len %d", got, q.Len())
	}
}

func TestFairQueue_SkipsAFlowThatMustWait(t *testing.T) {
	q := New[int]()
	q.Push(Flow{Client: 1}, 1)
	q.Push(Flow{Client: 1}, 2)
	q.Push(Flow{Client: 2}, 4)
	if got := drain(q, func(value int) bool { return value != 1 }); !slices.Equal(got, []int{4}) || q.Len() != 2 {
		t.Errorf("got %v, Len %d", got, q.Len())
	}
}

func TestFairQueue_RemovesTheTurnOfARemovedValue(t *testing.T) {
	q := New[int]()
	q.Push(Flow{Client: 1}, 1)
	q.Push(Flow{Client: 2}, 2)
	q.Remove(Flow{Client: 1}, 1)
	q.Remove(Flow{Client: 1}, 1)
	if got := drain(q, all); !slices.Equal(got, []int{2}) || q.Len() != 0 {
		t.Errorf("got %v, Len %d", got, q.Len())
	}
}

func TestBacklog_HoldsTicketsUntilDue(t *testing.T) {
	b, now := NewBacklog(), time.Now()
	for id := range queue.ID(4) {
		b.Postpone(queue.Ticket{ID: id}, now.Add(time.Duration(4-id)*time.Minute))
	}
	if due, found := b.NextDue(); !found || due != now.Add(time.Minute) {
		t.Errorf("NextDue: got %s, want in 1m", due)
	}
	b.Advance(now.Add(2 * time.Minute))
	if b.Due() != 2 || b.Later() != 2 {
		t.Errorf("got %d due, %d later, want 2 and 2", b.Due(), b.Later())
	}
	taken := b.TakeLater(func(t queue.Ticket) bool { return t.ID == 0 })
	if len(taken) != 1 || taken[0].ID != 0 || b.Later() != 1 {
		t.Errorf("TakeLater: got %v, %d later", taken, b.Later())
	}
	if due, _ := b.NextDue(); due != now.Add(3*time.Minute) {
		t.Errorf("NextDue: got %s, want in 3m", due)
	}
}

func TestBacklog_PrefersSmallMail(t *testing.T) {
	small, large := queue.Ticket{ID: 1, Size: LargeSize - 1}, queue.Ticket{ID: 2, Size: LargeSize}
	anything := func(queue.Ticket) bool { return true }
	for _, c := range []struct {
		withLarge, largeFirst bool
		first                 queue.ID
	}{{true, false, 1}, {true, true, 2}, {false, true, 1}} {
		b := NewBacklog()
		b.Push(large)
		b.Push(small)
		if got, found := b.Pop(anything, c.withLarge, c.largeFirst); !found || got.ID != c.first {
			t.Errorf("%+v: got ticket %d", c, got.ID)
		}
		if _, found := b.Pop(anything, c.withLarge, c.largeFirst); found != c.withLarge {
			t.Errorf("%+v: second Pop: got found %v", c, found)
		}
	}
}

// of returns the assignment to an account of the first route.
func of(account string, bound int) Assignment {
	return Assignment{Accounts: [MaxRoutes]string{account}, Bound: bound}
}

func TestBacklog_CountsMessagesByAccount(t *testing.T) {
	b := NewBacklog()
	b.Assign(1, of("a", 0))
	b.Assign(1, of("a", 2))
	b.Assign(2, of("a", 0))
	b.Assign(2, Assignment{Accounts: [MaxRoutes]string{"b", "a"}})
	b.Assign(3, of("", 0))
	if b.Messages(0, "a") != 1 || b.Messages(0, "b") != 1 || b.Messages(1, "a") != 1 || b.Assigned() != 2 || b.Assignment(1) != of("a", 2) {
		t.Errorf("got %v, %v", b.assignments, b.messages)
	}
	for id := range queue.ID(4) {
		b.Forget(id)
	}
	if b.Assigned() != 0 || len(b.messages) != 0 {
		t.Errorf("got %v, %v, want empty", b.assignments, b.messages)
	}
}

func TestBacklog_LetsAMessageBoundToAnotherRouteWaitAlone(t *testing.T) {
	b := NewBacklog()
	b.Assign(1, of("", 1))
	for id := range queue.ID(3) {
		b.Push(queue.Ticket{ID: id + 1, Client: 7})
	}
	free := func(t queue.Ticket) bool { return b.Assignment(t.ID).Bound != 1 }
	for want := range queue.ID(2) {
		if got, found := b.Pop(free, true, false); !found || got.ID != want+2 {
			t.Errorf("got ticket %d, %t, want %d", got.ID, found, want+2)
		}
	}
	if got, found := b.Pop(free, true, false); found {
		t.Errorf("got ticket %d, want none", got.ID)
	}
}
