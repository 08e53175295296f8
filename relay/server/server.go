// Package server runs the relay: it opens the parts in order, serves the LAN
// and the control socket, and closes everything in order on shutdown.
//
// It knows the order of startup and shutdown, and who owns each goroutine. It
// must not know settings, files, TPMs or processes: its caller passes [Parts].
//
// Startup: the control socket comes first, so that a second relay on the same
// state fails before it touches anything. The process then drops its
// privileges, opens the routes and the listeners, and serves. The spool is
// opened last, while the listeners serve: recovery takes time, and clients that
// connect before it is open wait for it.
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"sealpost/relay/control"
	"sealpost/relay/device"
	"sealpost/relay/dispatch"
	"sealpost/relay/envelope"
	"sealpost/relay/journal"
	"sealpost/relay/lan"
	"sealpost/relay/policy"
)

// stopTimeout is how long messages in flight may take to finish on shutdown.
const stopTimeout = 20 * time.Second

// Route is a delivery route and the function that closes it.
type Route struct {
	dispatch.Route
	Close func()
}

// Policy is the relay policy, for single commands and for a whole message.
type Policy interface {
	lan.Policy
	Decide(r policy.Request) policy.Decision
	// Learn opens networks; none closes them again.
	Learn(networks []netip.Prefix)
}

// Parts opens the parts of a relay. Each method is called once, in this order,
// unless stated otherwise.
type Parts interface {
	// Confine drops the privileges that relaying does not need.
	Confine() error
	// Routes opens the delivery routes, in the order of preference.
	Routes(ctx context.Context) ([]Route, error)
	// Policy returns the relay policy, and a function that keeps it up to date
	// until its context ends; nil if nothing changes.
	Policy() (policy Policy, watch func(context.Context) error, err error)
	// EndListening drops the privilege to open listeners: all are open.
	EndListening() error
	// OpenSpool recovers the spool. It is called again after some seconds if
	// [Parts.Temporary] returns true for its error.
	OpenSpool(ctx context.Context) (*Storage, error)
	// Subnets returns the machine's own subnets.
	Subnets() ([]netip.Prefix, error)
	// LoadDevices returns what StoreDevices has stored; empty if nothing was.
	LoadDevices(ctx context.Context) ([]byte, error)
	StoreDevices(ctx context.Context, text []byte) error
	// Temporary reports whether an error may resolve without intervention.
	Temporary(err error) bool
	// Certificates returns the box's certificates for the LAN, the preferred one first.
	// It may be called at any time and may wait for the TPM.
	Certificates(ctx context.Context) ([]tls.Certificate, error)
	// TPM returns the state of the TPM and advice. It is called periodically.
	TPM(ctx context.Context) (state, advice string)
}

// Config is the configuration of a server.
type Config struct {
	Version  string // for the journal
	Method   string // delivery methods, for the journal
	Hostname string // in the greeting
	Socket   string // path of the control socket
	SMTP     []string
	SMTPS    []string
	Limits   lan.Limits
	Users    lan.Users
	Dispatch dispatch.Config
	WatchTPM bool // set if the keys are in the TPM
	// ClockTrusted reports whether the time is known; mail is held until then. It is
	// nil if the operating system keeps the time.
	ClockTrusted func() bool
}

// Server is a running relay.
type Server struct {
	config       Config
	parts        Parts
	journal      *journal.Journal
	policy       Policy
	devices      *device.Registry
	learning     learnMode
	dispatcher   *dispatch.Dispatcher
	certificates func() ([]tls.Certificate, error) // the first call waits for the TPM
	running      sync.WaitGroup

	mu      sync.Mutex // guards storage; nothing else is locked under it
	storage *Storage   // nil while the spool is not open
}

// Run opens the parts, serves until ctx ends or a listener fails, and closes
// them. Any part that cannot be opened is an error, except for the spool.
func Run(ctx context.Context, config Config, parts Parts, j *journal.Journal) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s := &Server{config: config, parts: parts, journal: j, devices: device.New(time.Now)}
	socket, err := control.Listen(config.Socket)
	if err != nil {
		return err
	}
	defer socket.Close()
	if err := parts.Confine(); err != nil {
		return err
	}
	routes, err := parts.Routes(ctx)
	if err != nil {
		return err
	}
	var opened []dispatch.Route
	for _, r := range routes {
		defer r.Close()
		opened = append(opened, r.Route)
	}
	s.dispatcher = dispatch.New(config.Dispatch, opened, j)
	defer s.closeSpool()
	rules, watch, err := parts.Policy()
	if err != nil {
		return err
	}
	s.policy = rules
	s.certificates = sync.OnceValues(func() ([]tls.Certificate, error) { return parts.Certificates(ctx) })
	smtp := lan.New(lan.Config{
		Hostname:  config.Hostname,
		TLS:       lan.TLS(s.certificates),
		LegacyTLS: lan.LegacyTLS(s.certificates),
		Limits:    config.Limits,
		Users:     config.Users,
		Recorder:  s.devices,
	}, rules, acceptor{s.dispatcher}, j)
	listeners, err := listen(config, smtp)
	defer listeners.close()
	if err != nil {
		return err
	}
	if err := parts.EndListening(); err != nil {
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
	controlServer := control.New(s.journal)
	control.HandleRelay(controlServer, s)
	if s.config.ClockTrusted != nil {
		s.awaitClock(ctx)
	}
	s.running.Go(func() { _ = controlServer.Serve(socket) })
	if s.config.WatchTPM {
		s.running.Go(func() { s.watchTPM(ctx) })
	}
	s.running.Go(func() { s.watchSpool(ctx, cancel) })
	s.loadDevices(ctx)
	for _, d := range s.devices.List() {
		if d.User != "" {
			smtp.RememberLogin(d.Address, d.User, d.Last)
		}
	}
	s.running.Go(func() { s.watchDevices(ctx) })
	for _, l := range listeners {
		s.running.Go(func() {
			if err := l.serve(l.Listener); err != nil && ctx.Err() == nil {
				cancel(err)
			}
		})
	}
	s.openSpool(ctx)
	_, _ = s.certificates()
	s.journal.Started(s.config.Version, s.config.Method)
	<-ctx.Done()

	cause := context.Cause(ctx)
	stopping, stop := context.WithTimeout(context.Background(), stopTimeout)
	defer stop()
	// Clients that wait for the upstream must not hold up the stop.
	s.dispatcher.Stop()
	err := smtp.Shutdown(stopping)
	// Shutdown does not close listeners that are not served yet.
	listeners.close()
	s.journal.Stopped()
	err = errors.Join(err, controlServer.Close())
	s.running.Wait()
	if errors.Is(cause, context.Canceled) {
		return err
	}
	return errors.Join(cause, err)
}

// acceptor passes messages from the LAN to the dispatcher.
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
	s.dispatcher.AwaitClock("the box does not know the time yet: check that it reaches a time server, or set the clock on the console")
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

// watchTPM journals each change of the TPM's state.
func (s *Server) watchTPM(ctx context.Context) {
	const period = 15 * time.Second
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	for last := ""; ; {
		callCtx, cancel := context.WithTimeout(ctx, period)
		state, advice := s.parts.TPM(callCtx)
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
