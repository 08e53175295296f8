package appliance

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sealpost/tests/rigs/lab"
)

const (
	serialLogged = "serial=525400123456"
	hasLease     = "event=network method=dhcp"
	noTPM        = "check that the TPM is fitted"
	stickGone    = "USB disconnect"
	noLink       = "There is no link on eth0."
	hasLink      = `trouble=""`
)

// TestFactoryBox_StartsAfterPowerOnResetAndPowerCut shares a box that stays in factory
// state.
func TestFactoryBox_StartsAfterPowerOnResetAndPowerCut(t *testing.T) {
	shared := lab.Share(lab.Start)
	shared.Case(t, "finds its devices", findsItsDevices)
	shared.Case(t, "detects hot-plugged devices", detectsHotPlug)
	shared.Case(t, "starts after a reset", func(t *testing.T, b *lab.Box) {
		b.MustLog(t, lab.Started)
		starts := b.Starts()
		if err := b.Execute("system_reset", nil); err != nil {
			t.Fatal(err)
		}
		if err := b.AwaitStart(starts + 1); err != nil {
			t.Fatal(err)
		}
		b.MustLog(t, lab.Started, serialLogged)
	})
	// These arguments override the limits of the kernel log that PID 1 sets.
	for _, kernel := range []string{"printk.devkmsg=on", "printk.devkmsg=ratelimit"} {
		shared.Case(t, "starts after a power cut with "+kernel, func(t *testing.T, b *lab.Box) {
			b.MustLog(t, lab.Started)
			b.SwitchOffAndOn(t, kernel)
			starts := b.Starts()
			terminal := b.PlugIn(t) // before the first output
			mustHaveStarted(t, b)
			lab.Play(t, terminal, "expect Press Enter to begin\nsend\nexpect This box is not set up yet\n")
			if b.Starts() != starts {
				t.Errorf("got %d restarts, want 0", b.Starts()-starts)
			}
		})
	}
}

// mustHaveStarted waits until the box has started with all its devices.
func mustHaveStarted(t *testing.T, b *lab.Box) {
	t.Helper()
	b.MustLog(t, lab.Started, serialLogged, hasLease)
	if strings.Contains(b.KernelLog(), noTPM) {
		t.Error("the box did not find its TPM")
	}
}

func findsItsDevices(t *testing.T, b *lab.Box) {
	b.MustLog(t, lab.PID1)
	mustHaveStarted(t, b)
	started, err := b.AwaitLogTime(lab.PID1)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("PID 1 after %s", started)
	for _, text := range []string{lab.Started, hasLease, "console on /dev/ttyAMA0"} {
		at, err := b.AwaitLogTime(text)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%-40s %s after PID 1", text, at-started)
	}
	if counts := b.Flash.Flash.Counts(); counts.Reads == 0 {
		t.Error("got no read of the flash, want some")
	}
}

func detectsHotPlug(t *testing.T, b *lab.Box) {
	stick := filepath.Join(t.TempDir(), "stick")
	if err := os.WriteFile(stick, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	// The keyboard has the lamp and the button.
	if _, err := b.AwaitLamp(1); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"first", "second"} {
		mustLogAfter(t, b, lab.StickAttached, func() error { return b.Insert(name, stick) })
		mustLogAfter(t, b, stickGone, func() error { return b.Remove(name) })
	}
	b.MustLog(t, hasLink)
	mustLogAfter(t, b, noLink, b.Unplug)
	mustLogAfter(t, b, hasLink, b.Plug)
}

// mustLogAfter calls do and waits until the box logs the text once more.
func mustLogAfter(t *testing.T, b *lab.Box, text string, do func() error) {
	t.Helper()
	logged := strings.Count(b.KernelLog(), text)
	if err := do(); err != nil {
		t.Fatal(err)
	}
	if err := b.AwaitLogTimes(logged+1, text); err != nil {
		t.Fatal(err)
	}
}
