package appliance

import (
	"context"
	"sync"
	"time"

	"sealpost/hal/linux/kernel"
	"sealpost/hal/linux/watchdog"
)

const (
	// restartRelayAfter is how long a relay may be of no use before it is
	// killed, rebootAfter how long until the whole machine is restarted.
	restartRelayAfter = 20 * time.Second
	rebootAfter       = 2 * time.Minute
)

// health feeds the watchdog while the box is of use.
type health struct {
	*group
	relay *relayProcess

	mu    sync.Mutex
	wrong string // why the relay is of no use
}

func newHealth(g *group, r *relayProcess) *health { return &health{group: g, relay: r} }

// start watches the relay, and arms the watchdog at this device, if any.
func (h *health) start(device string) {
	feeder := &watchdog.Feeder{
		Healthy:      h.check,
		RestartAfter: restartRelayAfter,
		Restart: func(wrong error) {
			h.journal.Unhealthy(wrong, "the relay is killed")
			h.relay.child.Kill()
		},
		RebootAfter: rebootAfter,
		Reboot: func(wrong error) {
			h.journal.Unhealthy(wrong, "the box restarts")
			// The watchdog is for a machine that cannot do so itself any more.
			h.try("restart", kernel.Restart())
		},
	}
	h.spawn(func(ctx context.Context) {
		if device != "" {
			err := kernel.AwaitFile(device, DeviceTimeout)
			if err == nil {
				feeder.Device, err = watchdog.Open(device)
			}
			h.try("watchdog", err)
		}
		feeder.Run(ctx)
	})
}

// check says why the box is not of use; a box that was never set up cannot be.
func (h *health) check(ctx context.Context) error {
	err := h.relay.check(ctx)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.wrong = ""
	if err != nil {
		h.wrong = err.Error()
	}
	return err
}

// problem is what the last check found; empty where the relay works.
func (h *health) problem() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.wrong
}
