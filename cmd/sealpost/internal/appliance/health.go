package appliance

import (
	"context"
	"sync"
	"time"

	"sealpost/hal/linux/kernel"
	"sealpost/hal/linux/watchdog"
)

const (
	// restartRelayAfter is how long a relay may be unhealthy before it is killed,
	// rebootAfter how long before the machine restarts.
	restartRelayAfter = 20 * time.Second
	rebootAfter       = 2 * time.Minute
)

// health feeds the watchdog while the box is healthy.
type health struct {
	*group
	relay *relayProcess

	mu     sync.Mutex
	reason string // why the relay is unhealthy
}

func newHealth(g *group, r *relayProcess) *health { return &health{group: g, relay: r} }

// start monitors the relay, and arms the watchdog at this device, if any.
func (h *health) start(device string) {
	feeder := &watchdog.Feeder{
		Healthy:      h.check,
		RestartAfter: restartRelayAfter,
		Restart: func(reason error) {
			h.journal.Unhealthy(reason, "the relay is killed")
			h.relay.child.Kill()
		},
		RebootAfter: rebootAfter,
		Reboot: func(reason error) {
			h.journal.Unhealthy(reason, "the box restarts")
			// The watchdog is for a machine that can no longer restart itself.
			h.logFault("restart", kernel.Restart())
		},
	}
	h.spawn(func(ctx context.Context) {
		if device != "" {
			err := kernel.AwaitFile(device, DeviceTimeout)
			if err == nil {
				feeder.Device, err = watchdog.Open(device)
			}
			h.logFault("watchdog", err)
		}
		feeder.Run(ctx)
	})
}

// check returns why the box is unhealthy; a box that is not set up is healthy.
func (h *health) check(ctx context.Context) error {
	err := h.relay.check(ctx)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reason = ""
	if err != nil {
		h.reason = err.Error()
	}
	return err
}

// problem returns the result of the last check; empty if the relay is healthy.
func (h *health) problem() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.reason
}
