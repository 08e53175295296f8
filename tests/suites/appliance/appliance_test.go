// Package appliance tests the whole box from power-on: it starts, serves, sets its
// clock and recovers from faults.
//
// A boot in QEMU takes about ten seconds, so the cases of one test share a box if each
// can restore its state. Each case also runs alone.
package appliance

import (
	"testing"

	"sealpost/tests/rigs/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }
