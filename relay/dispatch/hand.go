package dispatch

import (
	"errors"
	"time"

	"sealpost/relay/queue"
	"sealpost/relay/spool"
)

// Status is how the upstream and the queue are at this moment.
type Status struct {
	Hold
	Accounts   []Hold `json:"accounts,omitempty"` // whose mail alone is held back, where there is any
	Due        int    `json:"due"`                // messages that wait for their turn
	Later      int    `json:"later"`              // messages that wait for their time
	Active     int    `json:"active"`             // attempts under way
	Slots      int    `json:"slots"`              // attempts that may run at once
	Recipients int    `json:"recipients"`         // of the last 24 hours
	Spool      string `json:"spool,omitempty"`    // why mail cannot be kept
}

// Hold is why mail is held back; a zero one is none.
type Hold struct {
	Account string    `json:"account,omitempty"` // whose; empty for all mail
	Held    string    `json:"held,omitempty"`    // the kind of fault
	Reason  string    `json:"reason,omitempty"`  // in words
	Since   time.Time `json:"since,omitzero"`
	Next    time.Time `json:"next,omitzero"` // when the upstream is asked again
}

// hold tells of a closed gate.
func (g *gate) hold(account string) Hold {
	if !g.closed() {
		return Hold{}
	}
	return Hold{account, string(g.kind), g.reason, g.since, g.until}
}

// Status tells how things are.
func (d *Dispatcher) Status() Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	s := Status{Hold: d.gate.hold(""), Due: d.backlog.due(), Later: len(d.backlog.later),
		Active: len(d.active), Slots: d.ledger.slots(now), Recipients: d.ledger.recipients(now)}
	for _, a := range d.ledger.held() {
		if d.backlog.owned[a.name] == 0 {
			continue
		}
		s.Accounts = append(s.Accounts, a.gate.hold(a.name))
	}
	if d.noQueue != nil {
		s.Spool = d.noQueue.Error()
	}
	return s
}

// RetryAll has every message tried now, and the upstream asked at once.
func (d *Dispatcher) RetryAll() error {
	q, err := d.Queue()
	if q == nil {
		return err
	}
	d.mu.Lock()
	waiting := d.backlog.takeLater(func(queue.Ticket) bool { return true })
	d.mu.Unlock()
	return d.makeDue(q, waiting)
}

// Retry has one message tried now.
func (d *Dispatcher) Retry(id queue.ID) error {
	q, err := d.Queue()
	if q == nil {
		return err
	}
	d.mu.Lock()
	waiting := d.backlog.takeLater(func(t queue.Ticket) bool { return t.ID == id })
	d.mu.Unlock()
	return d.makeDue(q, waiting)
}

// makeDue ends the pauses of messages that were taken off the schedule for it:
// what an attempt notes must not be overwritten with what was there before.
func (d *Dispatcher) makeDue(q *queue.Queue, waiting []queue.Ticket) error {
	var failed error
	for _, t := range waiting {
		if err := q.MakeDue(t.ID); err != nil && !errors.Is(err, spool.ErrNotFound) && !errors.Is(err, spool.ErrDamaged) {
			failed = err
		}
		d.put(t, "")
	}
	d.askNow()
	return failed
}

// askNow ends the pause before the upstream is asked again.
func (d *Dispatcher) askNow() {
	now := time.Now()
	d.mu.Lock()
	d.gate.until = now
	for _, a := range d.ledger.held() {
		a.gate.until = now
	}
	d.mu.Unlock()
	d.kick()
}

// Drop takes a message out of the queue for good. Nobody is told.
func (d *Dispatcher) Drop(item queue.Item) error {
	q, err := d.Queue()
	if q == nil {
		return err
	}
	if err := q.Remove(item.Number); err != nil {
		return err
	}
	d.journal.Dropped(item.ID)
	return nil
}
