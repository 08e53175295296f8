package lab

import (
	"strings"
	"testing"

	"sealpost/tests/rigs/machine"
)

// What the box's log says in any case.
const (
	PID1       = "Run /init as init process"
	Started    = `event="board started"`
	Serves     = `event="relay serves"` // its relay answered its clients
	StickThere = "Attached SCSI removable disk"
)

// AwaitWords waits until the box's log says all of the words.
func (b *Box) AwaitWords(t *testing.T, words ...string) {
	t.Helper()
	for _, words := range words {
		if err := b.AwaitLog(words); err != nil {
			t.Fatal(err)
		}
	}
}

// PlugIn is a technician's terminal program on the box's serial line.
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

// Play follows a script, in which names stand for what the site has.
func Play(t *testing.T, terminal *machine.Terminal, script string, names ...string) {
	t.Helper()
	if err := terminal.Play(strings.NewReplacer(names...).Replace(script)); err != nil {
		t.Fatal(err)
	}
}
