// Package machine is the interface of PID 1 for the other processes of an
// appliance: typed calls over its control socket.
//
// It knows the calls and their types on both sides. It must not know how PID 1
// carries them out.
package machine

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"syscall"
	"time"

	"sealpost/hal/fault"
	"sealpost/hal/linux/board"
	"sealpost/hal/linux/network"
	"sealpost/relay/control"
)

// Socket is the control socket of PID 1, in RAM.
const Socket = "/run/init.sock"

// Status is the state of the machine.
type Status struct {
	Board   string         `json:"board"`
	Model   string         `json:"model,omitempty"`
	Serial  string         `json:"serial"`
	Version string         `json:"version"`
	Uptime  time.Duration  `json:"uptime"` // in nanoseconds
	Memory  int64          `json:"memory"` // in bytes
	Free    int64          `json:"free"`   // of it, in bytes
	Network network.Status `json:"network"`
	Clock   Clock          `json:"clock"`
	Factory bool           `json:"factory,omitempty"` // not set up yet
	// Storage says why the state cannot be used; nil if it can.
	Storage   *fault.Fault  `json:"storage,omitempty"`
	Trial     bool          `json:"trial,omitempty"`     // settings wait to be confirmed
	Remaining time.Duration `json:"remaining,omitempty"` // until they are rolled back, in nanoseconds
	Unhealthy string        `json:"unhealthy,omitempty"` // why the relay does not work
	Exits     int           `json:"exits,omitempty"`     // unexpected exits of the relay
	LastExit  string        `json:"last_exit,omitempty"` // output of the last of them
}

// Clock is the state of the clock.
type Clock struct {
	Trusted bool   `json:"trusted"`
	Doubt   string `json:"doubt,omitempty"` // why it is not trusted
}

// Machine is what PID 1 does for the other processes.
type Machine interface {
	// Status returns the state of the machine.
	Status(ctx context.Context) (Status, error)
	// Applied applies settings that another process has committed.
	Applied(ctx context.Context) error
	// Confirm keeps the settings on trial.
	Confirm(ctx context.Context) error
	// RollBack restores the settings from before the trial.
	RollBack(ctx context.Context) error
	// SetClock sets the clock to a time that a person entered.
	SetClock(ctx context.Context, t time.Time) error
	// Restart restarts the machine; by names the caller in the journal.
	Restart(ctx context.Context, by string) error
	// FactoryReset erases what was stored and restarts the machine.
	FactoryReset(ctx context.Context, by string) error
}

type none = control.None

// The calls of [Machine].
const (
	callStatus   control.Call[none, Status]    = "status"
	callApplied  control.Call[none, none]      = "applied"
	callConfirm  control.Call[none, none]      = "confirm"
	callRollBack control.Call[none, none]      = "rollback"
	callClock    control.Call[time.Time, none] = "clock"
	callRestart  control.Call[string, none]    = "restart"
	callReset    control.Call[string, none]    = "reset"
)

// Handle registers the calls of m with a control server.
func Handle(s *control.Server, m Machine) {
	control.Handle(s, callStatus, func(ctx context.Context, _ none) (Status, error) { return m.Status(ctx) })
	control.Handle(s, callApplied, func(ctx context.Context, _ none) (none, error) { return none{}, m.Applied(ctx) })
	control.Handle(s, callConfirm, func(ctx context.Context, _ none) (none, error) { return none{}, m.Confirm(ctx) })
	control.Handle(s, callRollBack, func(ctx context.Context, _ none) (none, error) { return none{}, m.RollBack(ctx) })
	control.Handle(s, callClock, func(ctx context.Context, t time.Time) (none, error) { return none{}, m.SetClock(ctx, t) })
	control.Handle(s, callRestart, func(ctx context.Context, by string) (none, error) { return none{}, m.Restart(ctx, by) })
	control.Handle(s, callReset, func(ctx context.Context, by string) (none, error) { return none{}, m.FactoryReset(ctx, by) })
}

// ErrNoAppliance is the error of a call on a machine without our PID 1.
var ErrNoAppliance = fault.New(fault.NoAppliance, "this is not an appliance, so there is no PID 1 of Sealpost's to ask")

// errNoInit is the error of a call that our PID 1 does not answer.
var errNoInit = fault.New(fault.NoInit, "the box's first process does not answer")

// Client calls the PID 1 of this machine. While that is still starting, a call
// waits.
type Client struct{}

var _ Machine = Client{}

// Time limits of a call. A client that stops waiting cancels the call, so the limit
// is long enough to erase a slow disk.
const (
	statusTimeout = 10 * time.Second
	changeTimeout = 5 * time.Minute
)

// Status implements [Machine].
func (Client) Status(ctx context.Context) (Status, error) {
	return call(ctx, statusTimeout, callStatus, none{})
}

// Applied implements [Machine].
func (Client) Applied(ctx context.Context) error { return change(ctx, callApplied, none{}) }

// Confirm implements [Machine].
func (Client) Confirm(ctx context.Context) error { return change(ctx, callConfirm, none{}) }

// RollBack implements [Machine].
func (Client) RollBack(ctx context.Context) error { return change(ctx, callRollBack, none{}) }

// SetClock implements [Machine].
func (Client) SetClock(ctx context.Context, t time.Time) error { return change(ctx, callClock, t) }

// Restart implements [Machine].
func (Client) Restart(ctx context.Context, by string) error { return change(ctx, callRestart, by) }

// FactoryReset implements [Machine].
func (Client) FactoryReset(ctx context.Context, by string) error { return change(ctx, callReset, by) }

func change[Q any](ctx context.Context, c control.Call[Q, none], request Q) error {
	_, err := call(ctx, changeTimeout, c, request)
	return err
}

func call[Q, R any](ctx context.Context, timeout time.Duration, c control.Call[Q, R], request Q) (response R, err error) {
	const pause = 250 * time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for {
		response, err = c.Do(ctx, Socket, request)
		starting := errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)
		switch {
		case err == nil || !errors.Is(err, control.ErrNoRelay):
			return response, err
		case !onAppliance():
			return response, ErrNoAppliance
		case !starting:
			return response, errNoInit.Wrap(err)
		}
		select {
		case <-ctx.Done():
			return response, errNoInit.Wrap(err)
		case <-time.After(pause):
		}
	}
}

// Ask returns the status without waiting for PID 1 to start.
func Ask(ctx context.Context) (Status, error) { return callStatus.Do(ctx, Socket, none{}) }

// onAppliance reports whether this machine was started from an appliance's image.
func onAppliance() bool {
	_, err := os.Stat(board.FactsPath)
	return err == nil
}
