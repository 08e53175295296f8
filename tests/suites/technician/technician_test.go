// Package technician tests the whole box as somebody has it in their hands who
// sets it up: the serial line, the USB cable, the sticks, the lamp and the
// button.
package technician

import (
	"testing"

	"sealpost/tests/rigs/lab"
	"sealpost/tests/rigs/parts"
)

func TestMain(m *testing.M) { lab.Main(m, parts.PrepareIssuer) }
