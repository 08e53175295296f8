package watchdog

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// feed runs a feeder for some time; unhealthy reports whether the machine is
// unhealthy then.
func feed(t *testing.T, unhealthy func(after time.Duration) bool, length time.Duration) (fed int, restarts []time.Duration, rebooted time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		started := time.Now()
		var device bytes.Buffer
		feeder := Feeder{
			Device: &device,
			Healthy: func(context.Context) error {
				if unhealthy(time.Since(started)) {
					return errors.New("unhealthy")
				}
				return nil
			},
			Restart: func(error) { restarts = append(restarts, time.Since(started)) }, RestartAfter: 20 * time.Second,
			Reboot: func(error) { rebooted = time.Since(started) }, RebootAfter: 2 * time.Minute,
		}
		ctx, cancel := context.WithTimeout(t.Context(), length)
		defer cancel()
		feeder.Run(ctx)
		fed = device.Len()
	})
	return fed, restarts, rebooted
}

func TestFeeder_FeedsAHealthyMachineInTime(t *testing.T) {
	fed, restarts, rebooted := feed(t, func(time.Duration) bool { return false }, time.Hour)
	if least := int(time.Hour / (Timeout / 3)); fed < least || restarts != nil || rebooted != 0 {
		t.Errorf("fed %d times in an hour, want %d; restarts %v, reboot %v", fed, least, restarts, rebooted)
	}
}

func TestFeeder_RecoversFromAShortFailure(t *testing.T) {
	fed, restarts, rebooted := feed(t, func(after time.Duration) bool { return after%(2*time.Minute) < 30*time.Second }, time.Hour)
	if len(restarts) != 30 || rebooted != 0 || fed < 700 {
		t.Errorf("fed %d times, %d restarts, reboot %v", fed, len(restarts), rebooted)
	}
}

func TestFeeder_StopsWhenAFailurePersists(t *testing.T) {
	_, restarts, rebooted := feed(t, func(after time.Duration) bool { return after >= 10*time.Minute }, time.Hour)
	if len(restarts) != 5 || rebooted < 12*time.Minute || rebooted > 12*time.Minute+2*interval {
		t.Errorf("restarts %v, reboot after %v", restarts, rebooted)
	}
}

func TestOpen_ReturnsAWatchdogWithoutASettableTimeout(t *testing.T) {
	path := filepath.Join(t.TempDir(), "watchdog") // an ordinary file has no such ioctl
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if device, err := Open(path); device == nil || err == nil {
		t.Errorf("got %v, %v", device, err)
	}
}
