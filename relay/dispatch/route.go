package dispatch

import (
	"context"
	"time"

	"sealpost/relay/dispatch/throttle"
	"sealpost/relay/envelope"
	"sealpost/relay/reply"
	"sealpost/relay/report"
	"sealpost/relay/spool"
	"sealpost/relay/upstream"
)

// Upstream sends messages to the servers of one route.
type Upstream interface {
	// Account names whose limits a message counts against; it is empty where the
	// upstream knows no accounts.
	Account(e envelope.Envelope) string
	// Deliver offers one message. Once every recipient was answered, shouldSend
	// decides whether the content is sent.
	Deliver(ctx context.Context, e envelope.Envelope, content envelope.Content,
		shouldSend func(answers []reply.Reply) bool) (upstream.Result, error)
}

// Retry says how often delivery of a message is tried again.
type Retry struct {
	First   time.Duration // the first pause between two attempts
	Longest time.Duration // to which the pauses grow
	Age     time.Duration // after which a message is given up
	Warning time.Duration // after which its sender is notified of the delay
}

func (r Retry) pauses() throttle.Pauses { return throttle.Pauses{First: r.First, Longest: r.Longest} }

// Route is one way out with everything that belongs to it. The caller fills in
// the exported fields and passes it to New.
type Route struct {
	Name     string // for people
	Upstream Upstream
	Limits   throttle.Limits
	Retry    Retry
	Notify   Notify
	// Read explains what a server's reply means: it is asked with the message's
	// sender and who needs the right to send as it, or with neither where only
	// the kind matters. Replies that it does not know count by their code. Nil is
	// report.ReadFor.
	Read report.Reader

	// Guarded by Dispatcher.mu.
	breaker  *throttle.Breaker
	throttle *throttle.Throttle
}

// start returns the route as a dispatcher uses it.
func (r Route) start() *Route {
	if r.Read == nil {
		r.Read = report.ReadFor
	}
	r.breaker = throttle.NewBreaker(r.Retry.pauses())
	r.throttle = throttle.New(r.Limits, r.Retry.pauses(), spool.MaxMemo)
	return &r
}

// fault is what a reply means where it is not about one message alone.
func (r *Route) fault(answer reply.Reply) (reading report.Reading, isFault bool) {
	reading, known := r.Read(answer, "", "")
	return reading, known && reading.Kind != report.Message
}

// heldBy is the breaker that holds an account's mail back: of the route's and
// the account's own the one that has for longer, nil where none does. The
// caller holds Dispatcher.mu.
func (r *Route) heldBy(a *throttle.Account) *throttle.Breaker {
	whole, own := r.breaker, a.Breaker
	switch {
	case !own.Held() && !whole.Held():
		return nil
	case !own.Held(), whole.Held() && whole.Hold().Since.Before(own.Hold().Since):
		return whole
	}
	return own
}

// routeOf is the route by which a message leaves.
func (d *Dispatcher) routeOf(envelope.Envelope) *Route { return d.route }
