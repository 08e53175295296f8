package main

import (
	"context"
	"errors"
	"runtime/debug"
	"slices"
	"time"

	"sealpost/hal"
	"sealpost/hal/linux/flash"
	"sealpost/hal/linux/kernel"
	"sealpost/provisioning/certificate"
	"sealpost/provisioning/settings"
	"sealpost/relay/body"
	"sealpost/relay/dispatch"
	"sealpost/relay/dispatch/throttle"
	"sealpost/relay/envelope"
	"sealpost/relay/lan"
	"sealpost/relay/queue"
	"sealpost/relay/spool"
)

// intake gives the LAN's messages to the dispatcher.
type intake struct{ *dispatch.Dispatcher }

// Begin implements lan.Acceptor.
func (i intake) Begin(e envelope.Envelope, octets int64) lan.Incoming {
	return i.Dispatcher.Begin(e, octets)
}

// mailboxConnections is how many connections Exchange Online allows a mailbox.
const mailboxConnections = 3

func (r *relay) dispatching() dispatch.Config {
	s := r.box.settings
	return dispatch.Config{
		ClientWait: s.Upstream.Hold.Duration,
		Timeout:    s.Upstream.Timeout.Duration,
		Memory:     body.NewBudget(r.memory()),
	}
}

// route is the one that the settings describe.
func (r *relay) route(u dispatch.Upstream) dispatch.Route {
	s := r.box.settings
	route := dispatch.Route{
		Name:     string(s.Upstream.Method),
		Upstream: u,
		Limits: throttle.Limits{
			Connections: s.Upstream.Connections,
			Rate:        throttle.Rate{Messages: s.Upstream.MessagesPerMinute},
			PerDay:      s.Upstream.RecipientsPerDay,
		},
		Retry: dispatch.Retry{
			First:   s.Retry.First.Duration,
			Longest: s.Retry.Longest.Duration,
			Age:     s.Retry.Age.Duration,
			Warning: s.Retry.Warning.Duration,
		},
		Notify: r.notifying(),
	}
	if s.Upstream.Method == settings.MethodSubmission {
		route.Limits.PerAccount = mailboxConnections
	}
	return route
}

// memory is what messages in flight may take, in bytes. On an appliance it is a
// quarter of the machine's at most: what does not fit goes through the spool.
func (r *relay) memory() int64 {
	most := int64(r.box.settings.Limits.Memory)
	if total := kernel.Memory(); r.appliance && total > 0 {
		most = min(most, total/4)
	}
	return most
}

// notifying says how senders are told. Exchange Online relays for the null
// reverse-path only where the certificate's own domain is an accepted one, and
// lets a mailbox that logs in write in its own name without further rights.
func (r *relay) notifying() dispatch.Notify {
	s := r.box.settings
	n := dispatch.Notify{
		Reporter: r.hostname,
		Site:     s.Site.Name,
		From:     envelope.Address("mailer-daemon@" + string(s.AcceptedDomains()[0])),
		Sender:   envelope.Address(s.DefaultSender()),
		Alert:    envelope.Address(s.Site.Alert),
	}
	if s.Upstream.Method == settings.MethodSubmission {
		n.From = envelope.Address(s.Upstream.Submission.User)
		n.Sender = n.From
		return n
	}
	if n.Sender == "" {
		n.Sender = n.From
	}
	n.NullSender = r.leaf != nil && slices.ContainsFunc(s.Senders.AcceptedDomains, func(accepted settings.Domain) bool {
		return certificate.NameWithin(r.leaf, string(accepted)) != ""
	})
	return n
}

// openQueue opens the spool before anyone is served. Where the TPM is away, or
// another command is at the spool, it is tried again later.
func (r *relay) openQueue(ctx context.Context) {
	opened, err := r.box.openSpool(ctx)
	if err == nil {
		r.attach(opened)
		return
	}
	r.journal.SpoolClosed(err)
	r.dispatcher.SetQueueError(err)
	if passes(err) {
		r.serving.Go(func() { r.openLater(ctx, err) })
	}
}

// passes tells whether a fault may pass without anybody's help.
func passes(err error) bool {
	fault := (*hal.TPMFault)(nil)
	return errors.As(err, &fault) && fault.State != hal.TPMReplaced ||
		errors.Is(err, flash.ErrInUse) || errors.Is(err, context.DeadlineExceeded)
}

func (r *relay) openLater(ctx context.Context, last error) {
	const pause = 5 * time.Second
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		opened, err := r.box.openSpool(ctx)
		if err == nil {
			r.attach(opened)
			return
		}
		if err.Error() != last.Error() && ctx.Err() == nil {
			r.journal.SpoolClosed(err)
			r.dispatcher.SetQueueError(err)
			last = err
		}
		if !passes(err) {
			return
		}
	}
}

func (r *relay) attach(opened *storage) {
	r.mu.Lock()
	r.storage = opened
	r.mu.Unlock()
	found := opened.recovery
	for _, damage := range found.Damaged {
		r.journal.SpoolDamage(damage.String())
	}
	r.dispatcher.SetQueue(opened.queue())
	// Recovery reads the whole ring; what it took must not count for ever.
	debug.FreeOSMemory()
	r.journal.SpoolOpened(found.Messages, found.Bytes, found.Cipher, found.Took)
}

// watchSpool ends the relay when the flash has failed: only a new start can
// tell what is on it. Until then every message that needs it hears 451.
func (r *relay) watchSpool(ctx context.Context, cancel context.CancelCauseFunc) {
	const often = time.Second
	ticker := time.NewTicker(often)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if err := r.dispatcher.Failed(); err != nil {
			r.journal.SpoolFault(err)
			cancel(err)
			return
		}
	}
}

// closeQueue ends what is on its way out and closes the spool.
func (r *relay) closeQueue() {
	ctx, cancel := context.WithTimeout(context.Background(), stopPatience)
	defer cancel()
	if err := r.dispatcher.Close(ctx); err != nil {
		r.journal.SpoolFault(err)
	}
	if opened := r.opened(); opened != nil {
		if err := opened.close(); err != nil {
			r.journal.SpoolFault(err)
		}
	}
}

func (r *relay) opened() *storage {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.storage
}

// relay is the keeper of its own queue.
var _ keeper = (*relay)(nil)

func (r *relay) Queue() (*queue.Queue, error) { return r.dispatcher.Queue() }
func (r *relay) Status() dispatch.Status      { return r.dispatcher.Status() }
func (r *relay) RetryAll() error              { return r.dispatcher.RetryAll() }
func (r *relay) Retry(id queue.ID) error      { return r.dispatcher.Retry(id) }
func (r *relay) Drop(item queue.Item) error   { return r.dispatcher.Drop(item) }
func (r *relay) Spool() *spool.Spool {
	if opened := r.opened(); opened != nil {
		return opened.Spool
	}
	return nil
}
