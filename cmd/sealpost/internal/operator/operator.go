// Package operator implements provisioning/operator for this box: with the state,
// calls to PID 1 and to the relay, and commands of this program in child
// processes.
//
// A command that handles a private key or waits for a server runs as a child, so
// that its memory is freed and it can be killed at any time. The package must not
// know the front end.
package operator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"sealpost/cmd/sealpost/internal/machine"
	"sealpost/cmd/sealpost/internal/wire"
	"sealpost/provisioning/candidate"
	"sealpost/provisioning/certificate"
	api "sealpost/provisioning/operator"
	"sealpost/provisioning/preflight"
	"sealpost/provisioning/user"
	"sealpost/relay/control"
)

// Local is the box that this program runs on.
type Local struct {
	// Options name the box's parts; the settings are in the state.
	Options wire.Options
	// By names the caller in the journal, such as "the console".
	By string
}

var _ api.Box = Local{}

// relay is the relay of the box.
func (l Local) relay() control.Client { return control.Client{Socket: l.Options.Control} }

// Status implements [api.Box].
func (l Local) Status(ctx context.Context) (api.Status, error) {
	s, err := machine.Client{}.Status(ctx)
	if err != nil {
		return api.Status{}, err
	}
	return describeStatus(s), nil
}

// describeStatus says what the state of the machine means for a person.
func describeStatus(s machine.Status) api.Status {
	status := api.Status{
		Model: cmp.Or(s.Model, s.Board), Serial: s.Serial, Version: s.Version, Uptime: s.Uptime, Memory: s.Memory, Free: s.Free,
		TrialLeft: s.Remaining, Relay: s.Unhealthy,
		Network: api.Network{Method: s.Network.Method, Addresses: s.Network.Addresses, Gateway: s.Network.Gateway, DNS: s.Network.DNS, Trouble: s.Network.Trouble},
	}
	if s.Storage != nil {
		status.Storage = s.Storage
	}
	if !s.Clock.Trusted {
		status.Clock = cmp.Or(s.Clock.Doubt, "it is not set yet: wait a minute, or set it by hand")
		status.Relay = cmp.Or(s.Unhealthy, "it queues all mail until the clock is set")
	}
	if s.Factory {
		status.Relay = "it does not run: this box is not set up, or cannot read its settings"
	} else if s.Exits > 0 {
		status.Relay = strings.TrimPrefix(fmt.Sprintf("%s; it has exited %d times, last with: %s", status.Relay, s.Exits, s.LastExit), "; ")
	}
	return status
}

// Running implements [api.Box].
func (l Local) Running(ctx context.Context) (running candidate.Running, err error) {
	ctx, cancel := context.WithTimeout(ctx, wire.LockTimeout)
	defer cancel()
	err = l.Options.WithStore(func(store candidate.Store) (err error) {
		running, err = candidate.Load(ctx, store)
		return err
	})
	if errors.Is(err, wire.ErrNoState) {
		// PID 1 knows why the storage is missing.
		if s, unknown := (machine.Client{}).Status(ctx); unknown == nil && s.Storage != nil {
			return running, s.Storage
		}
	}
	return running, err
}

// unlockTimeout is longer than a slow board takes for the hash of a PIN and two writes,
// while other processes write too.
const unlockTimeout = 20 * time.Second

// Unlock implements [api.Box].
func (l Local) Unlock(ctx context.Context, digits string) (right bool, wrong int, err error) {
	ctx, cancel := context.WithTimeout(ctx, unlockTimeout)
	defer cancel()
	err = l.Options.WithStore(func(store candidate.Store) (err error) {
		right, wrong, err = candidate.Unlock(ctx, store, digits)
		return err
	})
	return right && err == nil, wrong, err
}

// Users implements [api.Box].
func (l Local) Users(ctx context.Context) (users []user.User, err error) {
	ctx, cancel := context.WithTimeout(ctx, wire.LockTimeout)
	defer cancel()
	err = l.Options.WithStore(func(store candidate.Store) (err error) {
		users, err = user.Load(ctx, store)
		return err
	})
	return users, err
}

// Check implements [api.Box].
func (l Local) Check(ctx context.Context, c candidate.Candidate) error {
	return l.apply(ctx, c, "--check")
}

// Commit implements [api.Box]. On a machine without our PID 1 it takes effect
// when the relay is restarted.
func (l Local) Commit(ctx context.Context, c candidate.Candidate) error {
	if err := l.apply(ctx, c); err != nil {
		return err
	}
	c.PIN, c.Users = nil, nil
	if c.Empty() {
		return nil // a PIN affects no other process, and the relay notices changed users
	}
	err := machine.Client{}.Applied(ctx)
	if errors.Is(err, machine.ErrNoAppliance) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("it is stored, but not active yet: %w", err)
	}
	l.awaitRelay(ctx)
	return nil
}

// awaitRelay waits until a new relay is healthy, or until a timeout.
func (l Local) awaitRelay(ctx context.Context) {
	const timeout, pause = 20 * time.Second, 250 * time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for ; ctx.Err() == nil; time.Sleep(pause) {
		if l.relay().Health(ctx) == nil {
			return
		}
	}
}

// Confirm implements [api.Box].
func (l Local) Confirm(ctx context.Context) error { return machine.Client{}.Confirm(ctx) }

// RollBack implements [api.Box].
func (l Local) RollBack(ctx context.Context) error { return machine.Client{}.RollBack(ctx) }

// SetClock implements [api.Box].
func (l Local) SetClock(ctx context.Context, t time.Time) error {
	return machine.Client{}.SetClock(ctx, t.UTC())
}

// Restart implements [api.Box].
func (l Local) Restart(ctx context.Context) error { return machine.Client{}.Restart(ctx, l.By) }

// FactoryReset implements [api.Box].
func (l Local) FactoryReset(ctx context.Context) error {
	return machine.Client{}.FactoryReset(ctx, l.By)
}

// Probe implements [api.Box].
func (l Local) Probe(ctx context.Context, t api.Target) (probed preflight.ProbeResult, err error) {
	args := []string{"probe", "--domain=" + t.Domain, "--host=" + t.Host}
	if t.CA != "" {
		args = append(args, "--ca-file="+standardInput)
	}
	return singleValue[preflight.ProbeResult](ctx, l.command(args...), t.CA)
}

// Preflight implements [api.Box]. If it finds problems, it returns no error.
func (l Local) Preflight(ctx context.Context) iter.Seq2[preflight.Finding, error] {
	return func(yield func(preflight.Finding, error) bool) {
		problems := false
		for finding, err := range values[preflight.Finding](ctx, childTimeout, l.command("check"), "") {
			if err != nil && problems {
				return
			}
			problems = problems || finding.Level == certificate.Problem
			if !yield(finding, err) {
				return
			}
		}
	}
}

// SendTest implements [api.Box].
func (l Local) SendTest(ctx context.Context, to string) iter.Seq2[api.Step, error] {
	return values[api.Step](ctx, childTimeout, l.command("send-test", "--to="+to), "")
}

// Certificate implements [api.Box].
func (l Local) Certificate(ctx context.Context) (string, error) {
	report, err := singleValue[certificate.Report](ctx, l.command("certificate", "show"), "")
	if err != nil {
		return "", err
	}
	return report.String(), nil
}

// Authority implements [api.Box].
func (l Local) Authority(ctx context.Context) (string, error) {
	ca, err := singleValue[PEM](ctx, l.command("certificate", "ca"), "")
	return strings.TrimSpace(ca.PEM), err
}

// Request implements [api.Box].
func (l Local) Request(ctx context.Context, r api.Request) (string, error) {
	// The settings need not be active yet, so they are passed to the command.
	args := append(l.command("certificate", "request", "--name="+r.Name), "--config="+standardInput)
	if r.Replace {
		args = append(args, "--replace")
	}
	request, err := singleValue[PEM](ctx, args, r.Settings)
	return strings.TrimSpace(request.PEM), err
}

// Retry implements [api.Box].
func (l Local) Retry(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, relayTimeout)
	defer cancel()
	_, err := l.relay().Retry(ctx, "")
	return err
}

// Drop implements [api.Box].
func (l Local) Drop(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, relayTimeout)
	defer cancel()
	_, err := l.relay().Drop(ctx, id)
	return err
}
