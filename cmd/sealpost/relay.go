package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"sealpost/hal/linux/kernel"
	"sealpost/provisioning/settings"
	"sealpost/relay/control"
	"sealpost/relay/dispatch"
	"sealpost/relay/journal"
	"sealpost/relay/lan"
)

const (
	// stopPatience is how long messages under way may take to finish when the
	// relay is stopped.
	stopPatience = 20 * time.Second
	// tpmWatch is how often the TPM is asked how it is.
	tpmWatch = 15 * time.Second
)

func relayCommand(o *options) *cobra.Command {
	var appliance bool
	c := leaf("relay", "Run the mail relay", 0, func(c *cobra.Command, _ []string) error {
		if appliance {
			// The first process hands it over once it has looked at it.
			_ = kernel.AwaitDevice(o.state, devicePatience)
		}
		b, err := openBox(o, anyState)
		if err != nil {
			return err
		}
		name, err := hostname(b.settings.LAN)
		if err != nil {
			return errors.Join(err, b.close())
		}
		r := &relay{box: b, hostname: name, appliance: appliance, journal: journal.New(logHandler(b.settings.Journal, c.ErrOrStderr()))}
		ctx, stop := untilStopped(c.Context())
		defer stop()
		return errors.Join(r.run(ctx), b.close())
	})
	c.Flags().BoolVar(&appliance, "appliance", false, "be the box's only service: confined to state and TPM, waiting for the clock, serving the box itself")
	return c
}

func logHandler(s settings.Journal, w io.Writer) slog.Handler {
	if s.Format == settings.FormatJSON {
		return journal.JSON(w, s.Conversation)
	}
	return journal.Text(w, s.Conversation)
}

// relay is a running relay.
type relay struct {
	box        *box
	hostname   string
	appliance  bool // under PID 1, which looks after the rest
	journal    *journal.Journal
	leaf       *x509.Certificate // the client certificate; nil where there is none
	dispatcher *dispatch.Dispatcher
	own        func() (*tls.Certificate, error) // the box's own certificate; waits for it
	serving    sync.WaitGroup

	mu      sync.Mutex
	storage *storage // nil while there is none
}

// run opens everything before it serves anyone, so that a relay that cannot
// start as it was told does not start at all.
func (r *relay) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	socket, err := control.Listen(r.box.settings.ControlSocket())
	if err != nil {
		return err
	}
	defer socket.Close()
	if r.appliance {
		if err := r.box.confine(); err != nil {
			return err
		}
	}
	way, err := r.wayOut(ctx)
	if err != nil {
		return err
	}
	defer way.Close()
	r.dispatcher = dispatch.New(r.dispatching(), r.route(way), r.journal)
	defer r.closeQueue()
	server, err := r.lanServer(ctx, intake{r.dispatcher})
	if err != nil {
		return err
	}
	doors, err := openDoors(r.box.settings.LAN, server)
	defer doors.close()
	if err != nil {
		return err
	}
	return r.serve(ctx, cancel, server, doors, socket)
}

// serve runs until ctx ends or a listener fails.
func (r *relay) serve(ctx context.Context, cancel context.CancelCauseFunc, server *lan.Server, doors doors, socket net.Listener) error {
	answered := calls(r)
	answered["health"] = r.health
	looking := control.New(r.journal, answered)
	if r.appliance {
		r.awaitClock(ctx)
	}
	r.serving.Go(func() { _ = looking.Serve(socket) })
	r.serving.Go(func() { r.watchTPM(ctx) })
	r.serving.Go(func() { r.watchSpool(ctx, cancel) })
	// Who comes before the spool is open waits for it, if need be.
	for _, d := range doors {
		r.serving.Go(func() {
			if err := d.serve(d.Listener); err != nil && ctx.Err() == nil {
				cancel(err)
			}
		})
	}
	r.openQueue(ctx)
	_, _ = r.own()
	r.journal.Started(version, string(r.box.settings.Upstream.Method))
	<-ctx.Done()
	return r.stop(context.Cause(ctx), server, doors, looking)
}

func (r *relay) stop(cause error, server *lan.Server, doors doors, looking *control.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopPatience)
	defer cancel()
	// Clients that wait for the tenant must not hold up the stop.
	r.dispatcher.Stop()
	err := server.Shutdown(ctx)
	// The server does not know a door that it was not opened at yet.
	doors.close()
	r.journal.Stopped()
	err = errors.Join(err, looking.Close())
	r.serving.Wait()
	if errors.Is(cause, context.Canceled) {
		return err
	}
	return errors.Join(cause, err)
}

// watchTPM records each change of the TPM's state.
func (r *relay) watchTPM(ctx context.Context) {
	if r.box.settings.Keys.Protection != settings.ProtectionTPM {
		return
	}
	ticker := time.NewTicker(tpmWatch)
	defer ticker.Stop()
	for last := ""; ; {
		asking, cancel := context.WithTimeout(ctx, tpmWatch)
		state := r.box.tpm.State(asking)
		cancel()
		if string(state) != last && ctx.Err() == nil {
			r.journal.TPM(string(state), state.Advice())
			last = string(state)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
