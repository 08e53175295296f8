package appliance

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sealpost/tests/rigs/lab"
)

const (
	serial    = "serial=525400123456"
	addressed = "event=network method=dhcp"
	noTPM     = "check that the TPM is fitted"
	stickGone = "USB disconnect"
	noLink    = "There is no link on eth0."
	linked    = `trouble=""`
)

// TestFactoryBox_StartsHoweverItIsSwitchedOn shares a box that is new from the
// factory and stays so.
func TestFactoryBox_StartsHoweverItIsSwitchedOn(t *testing.T) {
	shared := lab.Share(lab.Start)
	shared.Case(t, "finds its parts", findsItsParts)
	shared.Case(t, "sees what is plugged in while it runs", seesWhatIsPluggedIn)
	shared.Case(t, "starts after a reset", func(t *testing.T, b *lab.Box) {
		b.MustLog(t, lab.Started)
		starts := b.Starts()
		if err := b.Execute("system_reset", nil); err != nil {
			t.Fatal(err)
		}
		if err := b.AwaitStart(starts + 1); err != nil {
			t.Fatal(err)
		}
		b.MustLog(t, lab.Started, serial)
	})
	// PID 1 lowers the limits of the kernel's log, which these arguments fix.
	for _, kernel := range []string{"printk.devkmsg=on", "printk.devkmsg=ratelimit"} {
		shared.Case(t, "starts after a power cut with "+kernel, func(t *testing.T, b *lab.Box) {
			b.MustLog(t, lab.Started)
			b.SwitchOffAndOn(t, kernel)
			starts := b.Starts()
			terminal := b.PlugIn(t) // before the console speaks
			mustHaveStarted(t, b)
			lab.Play(t, terminal, "expect Press Enter to begin\nsend\nexpect This box is not set up yet\n")
			if b.Starts() != starts {
				t.Errorf("the box restarted %d times", b.Starts()-starts)
			}
		})
	}
}

// mustHaveStarted waits until the box has started with all its parts.
func mustHaveStarted(t *testing.T, b *lab.Box) {
	t.Helper()
	b.MustLog(t, lab.Started, serial, addressed)
	if strings.Contains(b.KernelLog(), noTPM) {
		t.Error("the box has found no TPM")
	}
}

func findsItsParts(t *testing.T, b *lab.Box) {
	b.MustLog(t, lab.PID1)
	mustHaveStarted(t, b)
	begun, err := b.AwaitLogTime(lab.PID1)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("PID 1 after %s", begun)
	for _, words := range []string{lab.Started, addressed, "console on /dev/ttyAMA0"} {
		at, err := b.AwaitLogTime(words)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%-40s %s after PID 1", words, at-begun)
	}
	if counts := b.Flash.Flash.Counts(); counts.Reads == 0 {
		t.Error("the box has not read its state")
	}
}

func seesWhatIsPluggedIn(t *testing.T, b *lab.Box) {
	stick := filepath.Join(t.TempDir(), "stick")
	if err := os.WriteFile(stick, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	// The lamp and the button are on the keyboard.
	if _, err := b.AwaitLamp(1); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"first", "second"} {
		mustSay(t, b, lab.StickAttached, func() error { return b.Insert(name, stick) })
		mustSay(t, b, stickGone, func() error { return b.Remove(name) })
	}
	b.MustLog(t, linked)
	mustSay(t, b, noLink, b.Unplug)
	mustSay(t, b, linked, b.Plug)
}

// mustSay does something and waits until the box logs the words once more.
func mustSay(t *testing.T, b *lab.Box, words string, do func() error) {
	t.Helper()
	logged := strings.Count(b.KernelLog(), words)
	if err := do(); err != nil {
		t.Fatal(err)
	}
	if err := b.AwaitLogTimes(logged+1, words); err != nil {
		t.Fatal(err)
	}
}
