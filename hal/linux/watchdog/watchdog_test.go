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

// keep runs a keeper for a while; ill tells from when to when the machine is
// unhealthy.
func keep(t *testing.T, ill func(after time.Duration) bool, howLong time.Duration) (fed int, cures []time.Duration, gaveUp time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		var device bytes.Buffer
		keeper := Feeder{
			Device: &device,
			Healthy: func(context.Context) error {
				if ill(time.Since(begun)) {
					return errors.New("unhealthy")
				}
				return nil
			},
			Restart: func(error) { cures = append(cures, time.Since(begun)) }, RestartAfter: 20 * time.Second,
			Reboot: func(error) { gaveUp = time.Since(begun) }, RebootAfter: 2 * time.Minute,
		}
		ctx, cancel := context.WithTimeout(t.Context(), howLong)
		defer cancel()
		keeper.Run(ctx)
		fed = device.Len()
	})
	return fed, cures, gaveUp
}

func TestFeeder_FeedsAHealthyMachineInTime(t *testing.T) {
	fed, cures, gaveUp := keep(t, func(time.Duration) bool { return false }, time.Hour)
	if least := int(time.Hour / (Timeout / 3)); fed < least || cures != nil || gaveUp != 0 {
		t.Errorf("fed %d times in an hour, want %d; cures %v, given up %v", fed, least, cures, gaveUp)
	}
}

func TestFeeder_RecoversFromAShortFailure(t *testing.T) {
	fed, cures, gaveUp := keep(t, func(after time.Duration) bool { return after%(2*time.Minute) < 30*time.Second }, time.Hour)
	if len(cures) != 30 || gaveUp != 0 || fed < 700 {
		t.Errorf("fed %d times, %d cures, given up %v", fed, len(cures), gaveUp)
	}
}

func TestFeeder_StopsWhenAFailurePersists(t *testing.T) {
	_, cures, gaveUp := keep(t, func(after time.Duration) bool { return after >= 10*time.Minute }, time.Hour)
	if len(cures) != 5 || gaveUp < 12*time.Minute || gaveUp > 12*time.Minute+2*interval {
		t.Errorf("cures %v, given up after %v", cures, gaveUp)
	}
}

func TestOpen_ReturnsAWatchdogWithoutASettableTimeout(t *testing.T) {
	path := filepath.Join(t.TempDir(), "watchdog") // an ordinary file knows no such call
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if device, err := Open(path); device == nil || err == nil {
		t.Errorf("%v, %v", device, err)
	}
}
