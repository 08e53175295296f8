// Package appliance tests the whole box, from its power plug on: that it starts,
// serves, knows the time, and recovers from every fault.
//
// A boot costs an emulated processor some ten seconds, so the cases of one test
// share a box where each can leave it as it found it. Each case also runs alone.
package appliance

import (
	"testing"

	"sealpost/tests/rigs/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }
