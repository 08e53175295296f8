// Package server is the running relay: it opens the parts in their order,
// serves the LAN and the control socket, and closes everything in order when it
// is told to stop.
//
// It knows the order of a start and of a stop, and who owns each goroutine. It
// must not know settings, files, TPMs or processes: its caller hands it [Parts].
//
// Order of a start: the control socket comes first, so that a second relay on
// the same state fails before it touches anything. The process then gives up
// its rights, opens the route and the listeners, and serves. The spool is
// opened last, beside the serving listeners: recovery takes its time, and
// clients that connect before it is open wait for it.
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"

	"sealpost/relay/control"
	"sealpost/relay/dispatch"
	"sealpost/relay/envelope"
	"sealpost/relay/journal"
	"sealpost/relay/lan"
)

// stopTimeout is how long messages in flight may take to finish when the relay
// is told to stop.
const stopTimeout = 20 * time.Second

// Route is how mail leaves, and what ends its use.
type Route struct {
	dispatch.Route
	Close func()
}

// Parts opens what a relay is made of. Each method is called once, in this
// order, unless it says otherwise.
type Parts interface {
	// Confine gives up what the process may do beyond relaying.
	Confine() error
	// Route opens how mail leaves.
	Route(ctx context.Context) (Route, error)
	// Policy gives who may send, and a function that keeps it up to date until
	// its context ends; nil where nothing changes.
	Policy() (policy lan.Policy, watch func(context.Context) error, err error)
	// OpenSpool recovers the spool. It is called again, some seconds later,
	// where [Parts.Temporary] says so of its error.
	OpenSpool(ctx context.Context) (*Storage, error)
	// Temporary tells whether a fault may pass without anybody's help.
	Temporary(err error) bool
	// Certificate gives the box's own certificate for the LAN. It may be called
	// at any time and takes as long as the TPM does.
	Certificate(ctx context.Context) (*tls.Certificate, error)
	// TPM gives the state of the TPM and what to do about it. It is called again
	// and again.
	TPM(ctx context.Context) (state, advice string)
}

// Config is what a server goes by from the start.
type Config struct {
	Version  string // for the journal
	Method   string // of delivery, for the journal
	Hostname string // with which the relay greets
	Socket   string // path of the control socket
	SMTP     []string
	SMTPS    []string
	Limits   lan.Limits
	Dispatch dispatch.Config
	WatchTPM bool // the keys are in the TPM
	// ClockTrusted tells whether the time is known; mail is held until then. Nil
	// where the clock is the system's business.
	ClockTrusted func() bool
}

// Server is a running relay.
type Server struct {
	config      Config
	parts       Parts
	journal     *journal.Journal
	dispatcher  *dispatch.Dispatcher
	certificate func() (*tls.Certificate, error) // the first call waits for the TPM
	running     sync.WaitGroup

	mu      sync.Mutex // guards storage; nothing else is locked under it
	storage *Storage   // nil while the spool is not open
}

// Run opens the parts, serves until ctx ends or a listener fails, and closes
// them. A relay that cannot start as it was told does not start at all, but
// for its spool.
func Run(ctx context.Context, config Config, parts Parts, j *journal.Journal) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s := &Server{config: config, parts: parts, journal: j}
	socket, err := control.Listen(config.Socket)
	if err != nil {
		return err
	}
	defer socket.Close()
	if err := parts.Confine(); err != nil {
		return err
	}
	route, err := parts.Route(ctx)
	if err != nil {
		return err
	}
	defer route.Close()
	s.dispatcher = dispatch.New(config.Dispatch, route.Route, j)
	defer s.closeSpool()
	policy, watch, err := parts.Policy()
	if err != nil {
		return err
	}
	s.certificate = sync.OnceValues(func() (*tls.Certificate, error) { return parts.Certificate(ctx) })
	smtp := lan.New(lan.Config{Hostname: config.Hostname, TLS: lan.TLS(s.certificate), Limits: config.Limits}, policy, acceptor{s.dispatcher}, j)
	listeners, err := listen(config, smtp)
	defer listeners.close()
	if err != nil {
		return err
	}
	if watch != nil {
		s.running.Go(func() {
			if err := watch(ctx); err != nil && ctx.Err() == nil {
				j.MachineFault("network", err)
			}
		})
	}
	return s.serve(ctx, cancel, smtp, listeners, socket)
}

// serve runs until ctx ends or a listener fails.
func (s *Server) serve(ctx context.Context, cancel context.CancelCauseFunc, smtp *lan.Server, listeners listeners, socket net.Listener) error {
	controls := control.New(s.journal)
	control.HandleRelay(controls, s)
	if s.config.ClockTrusted != nil {
		s.awaitClock(ctx)
	}
	s.running.Go(func() { _ = controls.Serve(socket) })
	if s.config.WatchTPM {
		s.running.Go(func() { s.watchTPM(ctx) })
	}
	s.running.Go(func() { s.watchSpool(ctx, cancel) })
	for _, l := range listeners {
		s.running.Go(func() {
			if err := l.serve(l.Listener); err != nil && ctx.Err() == nil {
				cancel(err)
			}
		})
	}
	s.openSpool(ctx)
	_, _ = s.certificate()
	s.journal.Started(s.config.Version, s.config.Method)
	<-ctx.Done()

	cause := context.Cause(ctx)
	stopping, stop := context.WithTimeout(context.Background(), stopTimeout)
	defer stop()
	// Clients that wait for the upstream must not hold up the stop.
	s.dispatcher.Stop()
	err := smtp.Shutdown(stopping)
	// The SMTP server does not know a listener that it does not serve yet.
	listeners.close()
	s.journal.Stopped()
	err = errors.Join(err, controls.Close())
	s.running.Wait()
	if errors.Is(cause, context.Canceled) {
		return err
	}
	return errors.Join(cause, err)
}

// acceptor gives the LAN's messages to the dispatcher.
type acceptor struct{ *dispatch.Dispatcher }

// Begin implements lan.Acceptor.
func (a acceptor) Begin(e envelope.Envelope, octets int64) lan.Incoming {
	return a.Dispatcher.Begin(e, octets)
}

// awaitClock holds mail back until the time is known.
func (s *Server) awaitClock(ctx context.Context) {
	if s.config.ClockTrusted() {
		return
	}
	s.dispatcher.AwaitClock("the box does not know what time it is yet: check that it reaches a time server, or set the clock on the console")
	s.running.Go(func() {
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		for !s.config.ClockTrusted() {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
		}
		s.dispatcher.ClockSet()
	})
}

// watchTPM records each change of the TPM's state.
func (s *Server) watchTPM(ctx context.Context) {
	const period = 15 * time.Second
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	for last := ""; ; {
		asking, cancel := context.WithTimeout(ctx, period)
		state, advice := s.parts.TPM(asking)
		cancel()
		if state != last && ctx.Err() == nil {
			s.journal.TPM(state, advice)
			last = state
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
