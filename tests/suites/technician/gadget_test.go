package technician

import (
	"testing"

	"sealpost/tests/rigs/lab"
	"sealpost/tests/rigs/machine"
)

func TestTheConsoleIsThereOverAUSBCableToo(t *testing.T) {
	b := lab.Start(t)
	b.AwaitWords(t, "console on /dev/ttyGS0")
	cable, err := b.USBCable()
	if err != nil {
		t.Fatal(err)
	}
	terminal := machine.NewTerminal(cable)
	defer terminal.Close()
	// What was said before somebody listened is lost, as on any serial line.
	if err := terminal.Send(""); err != nil {
		t.Fatal(err)
	}
	if err := terminal.Expect("This box was never set up"); err != nil {
		t.Fatal(err)
	}
}
