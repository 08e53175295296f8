package operator

import (
	"testing"

	"sealpost/cmd/sealpost/internal/machine"
)

func TestStatus_ExplainsWhyTheRelaySendsNoMail(t *testing.T) {
	set := machine.Clock{Trusted: true}
	for want, s := range map[string]machine.Status{
		"": {Clock: set},
		"it queues all mail until the clock is set":                            {},
		"it does not answer":                                                   {Unhealthy: "it does not answer"},
		"it has exited 2 times, last with: killed":                             {Clock: set, Exits: 2, LastExit: "killed"},
		"it does not run: this box is not set up, or cannot read its settings": {Factory: true},
		"it does not answer; it has exited 1 times, last with: out of memory":  {Clock: set, Unhealthy: "it does not answer", Exits: 1, LastExit: "out of memory"},
	} {
		if got := describeStatus(s).Relay; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
