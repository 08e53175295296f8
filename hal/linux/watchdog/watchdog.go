// Package watchdog feeds the hardware timer that restarts a machine which is no
// longer healthy.
//
// It knows the device, and how long a machine may be unhealthy. It must not know
// what healthy means: its caller checks that.
package watchdog

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// Timeout is the hardware timeout; the Raspberry Pi supports up to 15 s.
	Timeout = 15 * time.Second
	// interval is how often health is checked.
	interval = 4 * time.Second
)

// Open opens the device and sets its timeout. From then on the machine
// restarts unless it is fed; it cannot be disarmed. A device that keeps a
// fixed timeout is returned together with the error, since it must be fed too.
func Open(path string) (io.Writer, error) {
	device, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("opening the watchdog: %w", err)
	}
	if err := unix.IoctlSetPointerInt(int(device.Fd()), unix.WDIOC_SETTIMEOUT, int(Timeout/time.Second)); err != nil {
		return device, fmt.Errorf("setting the watchdog's timeout: %w", err)
	}
	return device, nil
}

// Feeder feeds the watchdog while the machine is healthy, or may still recover.
type Feeder struct {
	Device io.Writer // nil if the machine has none
	// Healthy returns why the machine is unhealthy, or nil. Its context has a timeout
	// of [Timeout]/2.
	Healthy func(context.Context) error
	// Restart is called each time the machine was unhealthy for RestartAfter.
	Restart      func(cause error)
	RestartAfter time.Duration
	// Reboot is called once, when the machine was unhealthy for RebootAfter: from
	// then on the watchdog is not fed.
	Reboot      func(cause error)
	RebootAfter time.Duration
}

// Run checks health and feeds the watchdog until ctx ends.
func (f *Feeder) Run(ctx context.Context) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	var since, restarted time.Time
	for {
		cause := f.check(ctx)
		now := time.Now()
		switch {
		case cause == nil:
			since, restarted = time.Time{}, time.Time{}
		case since.IsZero():
			since, restarted = now, now
		case now.Sub(since) >= f.RebootAfter:
			f.Reboot(cause)
			return
		case now.Sub(restarted) >= f.RestartAfter:
			restarted = now
			f.Restart(cause)
		}
		f.feed()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (f *Feeder) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, Timeout/2)
	defer cancel()
	return f.Healthy(ctx)
}

// feed needs no error: a device that cannot be fed restarts the machine.
func (f *Feeder) feed() {
	if f.Device != nil {
		_, _ = f.Device.Write([]byte{0})
	}
}
