package diagnose

import (
	"context"
	"iter"
	"slices"
	"testing"
	"time"

	"sealpost/hal/fault"
	"sealpost/provisioning/certificate"
	"sealpost/provisioning/preflight"
)

func TestAwaitRights_WaitsOnlyForRights(t *testing.T) {
	refused := preflight.Finding{Level: certificate.Problem, Text: "535 5.7.3"}.WithCode(fault.ApplicationRefused)
	other := preflight.Finding{Level: certificate.Problem, Text: "SMTP AUTH is off"}
	passed := preflight.Finding{Level: certificate.OK, Text: "logged in"}
	for _, c := range []struct {
		name   string
		rounds []preflight.Finding
		want   int // rounds
	}{
		{"rights already", []preflight.Finding{passed}, 1},
		{"rights later", []preflight.Finding{refused, refused, passed}, 3},
		{"another reason", []preflight.Finding{refused, other, passed}, 2},
	} {
		round, waits := 0, 0
		verify := func() iter.Seq[preflight.Finding] {
			round++
			return slices.Values([]preflight.Finding{passed, c.rounds[round-1]})
		}
		awaitRights(t.Context(), verify, time.Microsecond, func(preflight.Finding) { waits++ })
		if round != c.want || waits != c.want-1 {
			t.Errorf("%s: got %d rounds and %d waits, want %d and %d", c.name, round, waits, c.want, c.want-1)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	rounds := 0
	awaitRights(ctx, func() iter.Seq[preflight.Finding] { rounds++; return slices.Values([]preflight.Finding{refused}) }, time.Hour, func(preflight.Finding) { cancel() })
	if rounds != 1 {
		t.Errorf("interrupted: got %d rounds, want 1", rounds)
	}
}
