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

func TestTheBoxStartsAndFindsItsParts(t *testing.T) {
	b := lab.Start(t)
	b.AwaitWords(t, lab.PID1, lab.Started, serial, addressed)
	begun, err := b.Said(lab.PID1)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("PID 1 after %s", begun)
	for _, words := range []string{lab.Started, addressed, "console on /dev/ttyAMA0"} {
		at, err := b.Said(words)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%-40s %s after PID 1", words, at-begun)
	}
	if strings.Contains(b.KernelLog(), noTPM) {
		t.Errorf("the box has found no TPM:\n%s", b.KernelLog())
	}
	if counts := b.Flash.Flash.Counts(); counts.Reads == 0 {
		t.Error("the box has not looked at its state")
	}
}

func TestTheBoxComesBackAfterAResetAndAfterAPowerCut(t *testing.T) {
	b := lab.Start(t)
	b.AwaitWords(t, lab.Started)
	if err := b.Execute("system_reset", nil); err != nil {
		t.Fatal(err)
	}
	if err := b.AwaitStart(2); err != nil {
		t.Fatal(err)
	}
	b.AwaitWords(t, lab.Started, serial)
	if err := b.Cut(); err != nil {
		t.Fatal(err)
	}
	if err := b.PowerOn(); err != nil {
		t.Fatal(err)
	}
	b.AwaitWords(t, lab.Started, serial, addressed)
	if strings.Contains(b.KernelLog(), noTPM) {
		t.Errorf("the box has found no TPM:\n%s", b.KernelLog())
	}
}

func TestWhatIsPluggedInWhileTheBoxRunsIsSeen(t *testing.T) {
	b := lab.Start(t)
	stick := filepath.Join(t.TempDir(), "stick")
	if err := os.WriteFile(stick, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	// The lamp and the button are on the keyboard.
	if _, err := b.AwaitLamp(1); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"first", "second"} {
		becomes(t, b, lab.StickThere, func() error { return b.Insert(name, stick) })
		becomes(t, b, stickGone, func() error { return b.Remove(name) })
	}
	b.AwaitWords(t, linked)
	becomes(t, b, noLink, b.Unplug)
	becomes(t, b, linked, b.Plug)
}

// becomes does something and waits until the box says the words once more.
func becomes(t *testing.T, b *lab.Box, words string, do func() error) {
	t.Helper()
	seen := strings.Count(b.KernelLog(), words)
	if err := do(); err != nil {
		t.Fatal(err)
	}
	if err := b.AwaitLogTimes(seen+1, words); err != nil {
		t.Fatal(err)
	}
}
