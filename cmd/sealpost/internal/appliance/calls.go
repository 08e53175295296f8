package appliance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"sealpost/cmd/sealpost/internal/machine"
	"sealpost/hal/linux/board"
	"sealpost/hal/linux/clock"
	"sealpost/hal/linux/kernel"
)

// stopTimeout is how long the relay may take to stop.
const stopTimeout = 20 * time.Second

var _ machine.Machine = (*Appliance)(nil)

// Status implements machine.Machine.
func (a *Appliance) Status(context.Context) (machine.Status, error) {
	s := machine.Status{
		Board: a.facts.Name, Model: cmp.Or(a.facts.Model, board.Model()), Serial: a.serial, Version: a.build.Version, Uptime: kernel.Uptime(),
		Memory: kernel.Memory(), Free: kernel.FreeMemory(), Network: a.network.status(), Storage: a.storage.fault, Unhealthy: a.health.problem(),
	}
	s.Clock.Trusted = clock.Trusted()
	if !s.Clock.Trusted {
		s.Clock.Doubt = a.clock.doubts()
	}
	s.Factory, _ = a.configuration.condition()
	s.Exits, s.LastExit = a.relay.exited()
	if onTrial, remaining := a.commit.Trial(); onTrial {
		s.Trial, s.Remaining = true, max(time.Second, remaining)
	}
	if s.Storage != nil {
		// As text, because another process reads the cause.
		storage := *s.Storage
		storage.Text = storage.Error()
		s.Storage = &storage
	}
	return s, nil
}

// Applied implements machine.Machine.
func (a *Appliance) Applied(ctx context.Context) error { return a.commit.Applied(ctx) }

// Confirm implements machine.Machine.
func (a *Appliance) Confirm(ctx context.Context) error { return a.commit.Confirm(ctx) }

// RollBack implements machine.Machine.
func (a *Appliance) RollBack(ctx context.Context) error { return a.commit.RollBack(ctx) }

// SetClock implements machine.Machine.
func (a *Appliance) SetClock(_ context.Context, t time.Time) error { return a.clock.syncer.Enter(t) }

// Restart implements machine.Machine: it stops the relay first.
func (a *Appliance) Restart(_ context.Context, by string) error {
	a.journal.Restarting(by)
	a.relay.stopServing()
	if !a.relay.child.Await(stopTimeout) {
		a.logFault("relay", errors.New("it did not stop in time and is killed"))
	}
	return kernel.Restart()
}

// FactoryReset implements machine.Machine. If it fails, settings on trial stay,
// because the caller can evidently reach the box.
func (a *Appliance) FactoryReset(ctx context.Context, by string) error {
	a.journal.FactoryReset(by)
	a.commit.Stop()
	a.relay.forbid() // even while other settings are being applied
	a.relay.child.Kill()
	a.relay.child.Await(stopTimeout)
	if err := a.storage.erase(ctx); err != nil {
		// If the erase failed, the relay must be started again here.
		a.relay.allow()
		a.configuration.Reload(context.WithoutCancel(ctx))
		return fmt.Errorf("erasing the state, try again: %w", err)
	}
	return kernel.Restart()
}
