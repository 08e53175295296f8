package appliance

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	pid1       = "Run /init as init process"
	started    = `event="board started"`
	serial     = "serial=525400123456"
	addressed  = "event=network method=dhcp"
	noTPM      = "check that the TPM is fitted"
	stickThere = "Attached SCSI removable disk"
	stickGone  = "USB disconnect"
	noLink     = "There is no link on eth0."
	linked     = `trouble=""`
)

// awaitLog waits until the box's log says all of the words.
func (b *box) awaitLog(t *testing.T, words ...string) {
	t.Helper()
	for _, words := range words {
		if err := b.AwaitLog(words); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTheBoxStartsAndFindsItsParts(t *testing.T) {
	b := start(t)
	b.awaitLog(t, pid1, started, serial, addressed)
	begun, err := b.Said(pid1)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("PID 1 after %s", begun)
	for _, words := range []string{started, addressed, "console on /dev/ttyAMA0"} {
		at, err := b.Said(words)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%-40s %s after PID 1", words, at-begun)
	}
	if strings.Contains(b.KernelLog(), noTPM) {
		t.Errorf("the box has found no TPM:\n%s", b.KernelLog())
	}
	if counts := b.flash.Flash.Counts(); counts.Reads == 0 {
		t.Error("the box has not looked at its state")
	}
}

func TestTheBoxComesBackAfterAResetAndAfterAPowerCut(t *testing.T) {
	b := start(t)
	b.awaitLog(t, started)
	if err := b.Execute("system_reset", nil); err != nil {
		t.Fatal(err)
	}
	if err := b.AwaitStart(2); err != nil {
		t.Fatal(err)
	}
	b.awaitLog(t, started, serial)
	if err := b.Cut(); err != nil {
		t.Fatal(err)
	}
	if err := b.PowerOn(); err != nil {
		t.Fatal(err)
	}
	b.awaitLog(t, started, serial, addressed)
	if strings.Contains(b.KernelLog(), noTPM) {
		t.Errorf("the box has found no TPM:\n%s", b.KernelLog())
	}
}

func TestWhatIsPluggedInWhileTheBoxRunsIsSeen(t *testing.T) {
	b := start(t)
	stick := filepath.Join(t.TempDir(), "stick")
	if err := os.WriteFile(stick, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	// The lamp and the button are on the keyboard.
	if _, err := b.AwaitLamp(1); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"first", "second"} {
		b.becomes(t, stickThere, func() error { return b.Insert(name, stick) })
		b.becomes(t, stickGone, func() error { return b.Remove(name) })
	}
	b.awaitLog(t, linked)
	b.becomes(t, noLink, b.Unplug)
	b.becomes(t, linked, b.Plug)
}

// becomes does something and waits until the box says the words once more.
func (b *box) becomes(t *testing.T, words string, do func() error) {
	t.Helper()
	seen := strings.Count(b.KernelLog(), words)
	if err := do(); err != nil {
		t.Fatal(err)
	}
	if err := b.AwaitLogTimes(seen+1, words); err != nil {
		t.Fatal(err)
	}
}
