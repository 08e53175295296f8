package wire

import (
	"context"
	"sync"

	"sealpost/hal/fault"
	"sealpost/provisioning/settings"
	"sealpost/relay/dispatch"
	"sealpost/relay/envelope"
	"sealpost/relay/journal"
	"sealpost/relay/reply"
	"sealpost/relay/server"
	"sealpost/relay/upstream"
)

// unopened is the upstream of a route that could not be opened: each delivery tries to
// open it again. What else the route has of its own, such as whether it relays the null
// reverse-path, it gets at the next start.
type unopened struct {
	open func(ctx context.Context) (server.Route, error)

	mu     sync.Mutex
	route  server.Route // once it is open
	closed bool
}

// unopened returns the route of a method that failed to open, and journals why.
func (b *Box) unopened(m settings.Method, cause error, j *journal.Journal) server.Route {
	j.MachineFault(string(m), cause)
	u := &unopened{open: func(ctx context.Context) (server.Route, error) { return b.Route(ctx, m, j) }}
	r := b.route(m, u, u.close)
	from := envelope.Address(b.Settings.DefaultSender())
	r.Notify = dispatch.Notify{Site: b.Settings.Site.Name, Alert: envelope.Address(b.Settings.Site.Alert), From: from, Sender: from}
	r.Notify.Reporter, _ = b.Hostname()
	return r
}

// Account implements dispatch.Upstream.
func (u *unopened) Account(e envelope.Envelope) string {
	if r, opened := u.opened(); opened {
		return r.Upstream.Account(e)
	}
	return ""
}

// Deliver implements dispatch.Upstream.
func (u *unopened) Deliver(ctx context.Context, e envelope.Envelope, content envelope.Content, tx upstream.Transactions) (upstream.Result, error) {
	r, err := u.reopen(ctx)
	if err != nil {
		return upstream.Result{}, &upstream.Unavailable{Status: reply.Status{Class: 4, Subject: 3, Detail: 5},
			Reason: "it cannot be used: " + err.Error(), Configuration: true, Code: fault.CodeOf(err), Err: err}
	}
	return r.Upstream.Deliver(ctx, e, content, tx)
}

func (u *unopened) opened() (r server.Route, opened bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.route, u.route.Upstream != nil
}

// reopen opens the route unless it is open.
func (u *unopened) reopen(ctx context.Context) (server.Route, error) {
	if r, opened := u.opened(); opened {
		return r, nil
	}
	r, err := u.open(ctx)
	if err != nil {
		return server.Route{}, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.route.Upstream != nil || u.closed {
		// Another delivery was first, or the relay stops.
		r.Close()
		r = u.route
	}
	if r.Upstream == nil {
		return server.Route{}, context.Canceled
	}
	u.route = r
	return r, nil
}

func (u *unopened) close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.closed = true
	if u.route.Upstream != nil {
		u.route.Close()
	}
}
