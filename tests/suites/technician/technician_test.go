// Package technician tests what a technician uses on the whole box: the serial line,
// the USB cable, sticks, the lamp and the button.
package technician

import (
	"testing"

	"sealpost/tests/rigs/lab"
	"sealpost/tests/rigs/parts"
)

func TestMain(m *testing.M) { lab.Main(m, parts.PrepareIssuer) }
