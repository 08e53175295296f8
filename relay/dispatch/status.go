package dispatch

import (
	"errors"
	"time"

	"sealpost/hal/fault"
	"sealpost/relay/dispatch/throttle"
	"sealpost/relay/queue"
	"sealpost/relay/spool"
)

// Status is the state of the upstream and the queue at one moment.
type Status struct {
	HoldStatus
	Accounts   []HoldStatus `json:"accounts,omitempty"`   // those whose mail alone is held back
	Due        int          `json:"due"`                  // messages that wait for their turn
	Later      int          `json:"later"`                // messages that wait for their time
	Active     int          `json:"active"`               // attempts under way
	Slots      int          `json:"slots"`                // attempts that may run at once
	Recipients int          `json:"recipients"`           // of the last 24 hours
	Spool      string       `json:"spool,omitempty"`      // why mail cannot be kept; empty where it can
	SpoolCode  fault.Code   `json:"spool_code,omitempty"` // of that fault, where it has one
}

// HoldStatus says why mail is held back; it is zero where none is.
type HoldStatus struct {
	Account string     `json:"account,omitempty"` // whose; empty for all mail
	Held    string     `json:"held,omitempty"`    // the kind of fault
	Reason  string     `json:"reason,omitempty"`  // in words
	Code    fault.Code `json:"code,omitempty"`    // of the fault, where it has one
	Since   time.Time  `json:"since,omitzero"`
	Next    time.Time  `json:"next,omitzero"` // when the upstream is asked again
}

func holdStatus(account string, b *throttle.Breaker) HoldStatus {
	if !b.Held() {
		return HoldStatus{}
	}
	h := b.Hold()
	return HoldStatus{account, string(h.Kind), h.Reason, h.Code, h.Since, h.Until}
}

// Status is the state at this moment.
func (d *Dispatcher) Status() Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	now, r := time.Now(), d.route
	s := Status{HoldStatus: holdStatus("", r.breaker), Due: d.backlog.Due(), Later: d.backlog.Later(),
		Active: len(d.active), Slots: r.throttle.Slots(now), Recipients: r.throttle.Recipients(now)}
	for _, a := range r.throttle.Held() {
		if d.backlog.Messages(a.Name) > 0 {
			s.Accounts = append(s.Accounts, holdStatus(a.Name, a.Breaker))
		}
	}
	if d.queueErr != nil {
		s.Spool, s.SpoolCode = d.queueErr.Error(), fault.CodeOf(d.queueErr)
	}
	return s
}

// RetryAll has every message tried now, and the upstream asked at once.
func (d *Dispatcher) RetryAll() error {
	return d.retry(func(queue.Ticket) bool { return true })
}

// Retry has one message tried now, and the upstream asked at once.
func (d *Dispatcher) Retry(id queue.ID) error {
	return d.retry(func(t queue.Ticket) bool { return t.ID == id })
}

// retry ends the pauses of the wanted messages, which leave the schedule
// meanwhile: the progress that an attempt saves must not be overwritten with an
// older one.
func (d *Dispatcher) retry(wanted func(queue.Ticket) bool) error {
	q, err := d.Queue()
	if q == nil {
		return err
	}
	d.mu.Lock()
	waiting := d.backlog.TakeLater(wanted)
	d.mu.Unlock()
	var failed error
	for _, t := range waiting {
		if err := q.MakeDue(t.ID); err != nil && !errors.Is(err, spool.ErrNotFound) && !errors.Is(err, spool.ErrDamaged) {
			failed = err
		}
		d.schedule(t, "")
	}
	now := time.Now()
	d.mu.Lock()
	d.route.breaker.ProbeNow(now)
	for _, a := range d.route.throttle.Held() {
		a.Breaker.ProbeNow(now)
	}
	d.mu.Unlock()
	d.kick()
	return failed
}

// Drop removes a message from the queue for good. Nobody is notified.
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
