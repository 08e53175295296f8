package lab

import (
	"strings"
	"testing"

	"sealpost/tests/rigs/machine"
)

// Texts of the box's log.
const (
	PID1          = "Run /init as init process"
	Started       = `event="board started"`
	Serves        = `event="relay serves"` // its relay replies to clients
	StickAttached = "Attached SCSI removable disk"
)

// MustLog waits until the box's log contains all of the texts.
func (b *Box) MustLog(t *testing.T, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if err := b.AwaitLog(text); err != nil {
			t.Fatal(err)
		}
	}
}

// PlugIn returns a terminal on the box's serial line.
func (b *Box) PlugIn(t *testing.T) *machine.Terminal {
	t.Helper()
	cable, err := b.Console()
	if err != nil {
		t.Fatal(err)
	}
	terminal := machine.NewTerminal(cable)
	t.Cleanup(func() { _ = terminal.Close() })
	return terminal
}

// Play plays a script after replacing names, given as pairs of old and new.
func Play(t *testing.T, terminal *machine.Terminal, script string, names ...string) {
	t.Helper()
	if err := terminal.Play(strings.NewReplacer(names...).Replace(script)); err != nil {
		t.Fatal(err)
	}
}
