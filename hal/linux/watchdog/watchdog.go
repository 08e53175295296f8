// Package watchdog is the timer in hardware that restarts a machine which
// nobody vouches for any more.
//
// It knows the device, and how long a machine may be unwell. It must not know
// what being well means: it is told.
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
	// Timeout is what the hardware is set to; the Raspberry Pi's goes up to 15 s.
	Timeout = 15 * time.Second
	// interval is how often the machine is looked at.
	interval = 4 * time.Second
)

// Open opens the device and sets its timeout. From then on the machine
// restarts unless it is fed: there is no taking it back. One that keeps a
// timeout of its own is given beside the error, for it has to be fed too.
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

// Keeper feeds the watchdog for as long as the machine is well, or may yet
// become so.
type Keeper struct {
	Device io.Writer // nil where the machine has none
	// Well says what is wrong with the machine; nil is nothing. It has a
	// deadline of [Timeout]/2.
	Well func(context.Context) error
	// Cure is tried each time that the machine was unwell for Cures.
	Cure  func(wrong error)
	Cures time.Duration
	// GiveUp is called once, when the machine was unwell for GivesUp: from then
	// on it is not fed.
	GiveUp  func(wrong error)
	GivesUp time.Duration
}

// Run looks and feeds until ctx ends.
func (k *Keeper) Run(ctx context.Context) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	var illSince, cured time.Time
	for {
		wrong := k.look(ctx)
		now := time.Now()
		switch {
		case wrong == nil:
			illSince, cured = time.Time{}, time.Time{}
		case illSince.IsZero():
			illSince, cured = now, now
		case now.Sub(illSince) >= k.GivesUp:
			k.GiveUp(wrong)
			return
		case now.Sub(cured) >= k.Cures:
			cured = now
			k.Cure(wrong)
		}
		k.feed()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (k *Keeper) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, Timeout/2)
	defer cancel()
	return k.Well(ctx)
}

// feed needs no error: a device that cannot be fed restarts the machine.
func (k *Keeper) feed() {
	if k.Device != nil {
		_, _ = k.Device.Write([]byte{0})
	}
}
