package dispatch

import (
	"errors"
	"slices"
	"time"

	"sealpost/hal/fault"
	"sealpost/relay/dispatch/fairqueue"
	"sealpost/relay/dispatch/throttle"
	"sealpost/relay/queue"
	"sealpost/relay/spool"
)

// Status is the state of the upstream and the queue. Of several routes, it has the
// sums, and mail is held back if each of them holds it back.
type Status struct {
	HoldStatus
	ByRecipient bool          `json:"by_recipient,omitempty"` // some routes take some recipients only
	Routes      []RouteStatus `json:"routes,omitempty"`       // in the order of preference, if there are several
	Accounts    []HoldStatus  `json:"accounts,omitempty"`     // accounts whose mail is held back separately
	Due         int           `json:"due"`                    // messages that may be sent now
	Later       int           `json:"later"`                  // messages that wait for their next attempt
	Active      int           `json:"active"`                 // attempts in progress
	Slots       int           `json:"slots"`                  // attempts that may run at once
	Recipients  int           `json:"recipients"`             // of the last 24 hours
	Spool       string        `json:"spool,omitempty"`        // why mail cannot be queued; empty if it can
	SpoolCode   fault.Code    `json:"spool_code,omitempty"`   // fault code of that, if any
}

// RouteStatus is the state of one of several routes.
type RouteStatus struct {
	Name string `json:"name"` // the delivery method
	HoldStatus
	Accounts   []HoldStatus `json:"accounts,omitempty"` // accounts whose mail is held back separately
	Active     int          `json:"active"`
	Slots      int          `json:"slots"`
	Recipients int          `json:"recipients"` // of the last 24 hours
}

// HoldStatus describes why mail is held back; the zero value means that it is
// not.
type HoldStatus struct {
	Account string     `json:"account,omitempty"` // the account concerned; empty for all mail
	Held    string     `json:"held,omitempty"`    // the kind of fault
	Reason  string     `json:"reason,omitempty"`  // for people
	Code    fault.Code `json:"code,omitempty"`    // fault code, if any
	Since   time.Time  `json:"since,omitzero"`
	Next    time.Time  `json:"next,omitzero"` // when the next probe is sent
}

func holdStatus(account string, b *throttle.Breaker) HoldStatus {
	if !b.Held() {
		return HoldStatus{}
	}
	h := b.Hold()
	return HoldStatus{account, string(h.Kind), h.Reason, h.Code, h.Since, h.Until}
}

// Reason says which mail is held back and why.
type Reason struct {
	Text string
	Code fault.Code // if any
}

// Holds lists why mail is held back, of each route and account.
func (s Status) Holds() []Reason {
	var holds []Reason
	add := func(of string, h HoldStatus) {
		if h.Held != "" {
			holds = append(holds, Reason{of + h.Reason, h.Code})
		}
	}
	if len(s.Routes) == 0 {
		add("", s.HoldStatus)
		for _, a := range s.Accounts {
			add(a.Account+": ", a)
		}
	}
	for _, r := range s.Routes {
		add(r.Name+": ", r.HoldStatus)
		for _, a := range r.Accounts {
			add(r.Name+", "+a.Account+": ", a)
		}
	}
	return holds
}

// Substitute returns the name of the route that mail takes because those before it hold
// it back; empty if it takes the first, or none.
func (s Status) Substitute() string {
	if s.ByRecipient {
		return "" // mail that the first route holds back may take no other
	}
	free := slices.IndexFunc(s.Routes, func(r RouteStatus) bool { return r.Held == "" })
	if free <= 0 {
		return ""
	}
	return s.Routes[free].Name
}

// Status returns the current state.
func (d *Dispatcher) Status() Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	s := Status{Due: d.backlog.Due(), Later: d.backlog.Later(), Active: len(d.active),
		ByRecipient: slices.ContainsFunc(d.routes, func(r *Route) bool { return r.Takes != nil })}
	held := d.heldBy(fairqueue.Assignment{}, now)
	if len(held) > 0 {
		s.HoldStatus = holdStatus("", held[0])
	}
	for _, r := range d.routes {
		each := d.routeStatus(r, now)
		s.Slots += each.Slots
		s.Recipients += each.Recipients
		if r.only || len(held) == len(d.routes) {
			s.Accounts = append(s.Accounts, each.Accounts...)
		}
		if !r.only {
			s.Routes = append(s.Routes, each)
		}
	}
	if d.queueErr != nil {
		s.Spool, s.SpoolCode = d.queueErr.Error(), fault.CodeOf(d.queueErr)
	}
	return s
}

// routeStatus returns the state of a route. The caller holds mu.
func (d *Dispatcher) routeStatus(r *Route, now time.Time) RouteStatus {
	s := RouteStatus{Name: r.Name, HoldStatus: holdStatus("", r.breaker), Active: r.active,
		Slots: r.throttle.Slots(now), Recipients: r.throttle.Recipients(now)}
	for _, a := range r.throttle.Held() {
		if d.backlog.Messages(r.number, a.Name) > 0 {
			s.Accounts = append(s.Accounts, holdStatus(a.Name, a.Breaker))
		}
	}
	return s
}

// RetryAll makes every queued message due now, and probes the upstream at once.
func (d *Dispatcher) RetryAll() error {
	return d.retry(func(queue.Ticket) bool { return true })
}

// Retry makes one queued message due now, and probes the upstream at once.
func (d *Dispatcher) Retry(id queue.ID) error {
	return d.retry(func(t queue.Ticket) bool { return t.ID == id })
}

// retry ends the delays of the matching messages. They leave the schedule
// meanwhile, so that the progress saved by an attempt is not overwritten with
// an older one.
func (d *Dispatcher) retry(match func(queue.Ticket) bool) error {
	q, err := d.Queue()
	if q == nil {
		return err
	}
	d.mu.Lock()
	postponed := d.backlog.TakeLater(match)
	d.mu.Unlock()
	var lastErr error
	for _, t := range postponed {
		if err := q.MakeDue(t.ID); err != nil && !errors.Is(err, spool.ErrNotFound) && !errors.Is(err, spool.ErrDamaged) {
			lastErr = err
		}
		d.mu.Lock()
		d.backlog.Push(t)
		d.mu.Unlock()
	}
	now := time.Now()
	d.mu.Lock()
	for _, r := range d.routes {
		r.breaker.ProbeNow(now)
		for _, a := range r.throttle.Held() {
			a.Breaker.ProbeNow(now)
		}
	}
	d.mu.Unlock()
	d.kick()
	return lastErr
}

// Sending reports whether an attempt to deliver a queued message is under way, and
// since when.
func (d *Dispatcher) Sending(item queue.Item) (since time.Time, sending bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for a := range d.active {
		// A message whose client waited too long is queued during its first attempt.
		if a.message != nil && a.message.envelope.ID == item.ID || a.message == nil && a.ticket.ID == item.Number {
			return a.begun, true
		}
	}
	return time.Time{}, false
}

// Drop deletes a message from the queue. No notification is sent.
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
