// Package appliance tests the whole box, from its power plug on: that it starts,
// serves, knows the time, and comes through every fault.
package appliance

import (
	"testing"

	"sealpost/tests/rigs/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }
