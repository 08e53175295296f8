package dispatch

import (
	"context"
	"time"

	"sealpost/relay/dispatch/throttle"
	"sealpost/relay/envelope"
	"sealpost/relay/reply"
	"sealpost/relay/report"
	"sealpost/relay/upstream"
)

// Upstream sends messages to the servers of one route.
type Upstream interface {
	// Account returns the account whose limits a message counts against, or ""
	// if the upstream has no accounts.
	Account(e envelope.Envelope) string
	// Deliver offers one message, in one transaction or several. The error is an
	// *upstream.Unavailable if no transaction got a usable reply.
	Deliver(ctx context.Context, e envelope.Envelope, content envelope.Content, tx upstream.Transactions) (upstream.Result, error)
}

// Retry is the retry schedule of a message.
type Retry struct {
	First   time.Duration // the first delay between two attempts
	Longest time.Duration // the delays double up to this
	Age     time.Duration // after which a message is given up
	Warning time.Duration // after which its sender is notified of the delay
}

func (r Retry) delays() throttle.Delays { return throttle.Delays{First: r.First, Longest: r.Longest} }

// Route is a delivery method with its limits, retries and notifications. The
// caller fills in the exported fields and passes it to New.
type Route struct {
	// Name is the delivery method, for people and in the spool. Of several routes, each
	// has another one.
	Name     string
	Upstream Upstream
	Limits   throttle.Limits
	Retry    Retry
	Notify   Notify
	// Classify explains a server's reply. sender and trustee (the account that
	// needs Send As permission) are empty where only the kind matters. Replies it
	// does not know count by their code. Nil means report.ClassifyFor.
	Classify report.Classifier
	// Domains is set if the accounts are the domains of recipients: the sender of a message
	// that waits for one of them is notified of the delay.
	Domains bool
	// Takes reports whether the route is for a recipient. Nil means every recipient.
	Takes func(recipient envelope.Address) bool
	// Relays reports whether the upstream relays mail of a sender. A message of
	// another sender that is refused is at fault itself. Nil means every sender.
	Relays func(sender envelope.Address) bool

	number int  // in the order of preference, from 0
	only   bool // there is no other route

	// Guarded by Dispatcher.mu.
	breaker  *throttle.Breaker
	throttle *throttle.Throttle
	active   int // attempts in progress
}

// start returns copies of the routes with their breakers and throttles.
func start(routes []Route) []*Route {
	started := make([]*Route, 0, len(routes))
	for i, r := range routes {
		r.number, r.only = i, len(routes) == 1
		if r.Classify == nil {
			r.Classify = report.ClassifyFor
		}
		r.breaker = throttle.NewBreaker(r.Retry.delays())
		r.throttle = throttle.New(r.Limits, r.Retry.delays())
		started = append(started, &r)
	}
	return started
}

// label returns the name, or "" if it goes without saying.
func (r *Route) label() string {
	if r.only {
		return ""
	}
	return r.Name
}

// labelled returns text with the name before it, unless that goes without saying.
func (r *Route) labelled(text string) string {
	if r.only || text == "" {
		return text
	}
	return r.Name + ": " + text
}

// fault returns the classification of a reply that does not concern one message
// alone.
func (r *Route) fault(serverReply reply.Reply) (class report.Classification, isFault bool) {
	class, known := r.Classify(serverReply, "", "")
	return class, known && class.Kind != report.Message
}

// heldBy returns the breaker that holds an account's mail back, the route's or
// the account's: the one that tripped first, or nil. The caller holds
// Dispatcher.mu.
func (r *Route) heldBy(a *throttle.Account) *throttle.Breaker {
	route, account := r.breaker, a.Breaker
	switch {
	case !account.Held() && !route.Held():
		return nil
	case !account.Held(), route.Held() && route.Hold().Since.Before(account.Hold().Since):
		return route
	}
	return account
}
