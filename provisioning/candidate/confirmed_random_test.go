package candidate

import (
	"flag"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// replay repeats one sequence, such as with
//
//	go test ./provisioning/candidate -run RandomSequences$ -v -confirmed.seed 4711
var replay = flag.Uint64("confirmed.seed", 0, "replay the random sequence of this `seed` alone, and print its steps")

// runSequences runs up to count sequences, with seeds from first, until one fails. It
// returns how many ran; the error names the seed.
func runSequences(t *testing.T, first uint64, count int, v variant) (ran int, err error) {
	const batch = 1000 // sequences in one bubble, because starting a bubble takes as long as a sequence
	for ran < count && err == nil {
		synctest.Test(t, func(t *testing.T) {
			for n := 0; n < batch && ran < count && err == nil; n++ {
				seed := first + uint64(ran)
				ran++
				r := newRig(seed, v)
				if failed := r.run(t.Context()); failed != nil {
					err = fmt.Errorf("seed %d: %w; after: %s", seed, failed, strings.Join(r.steps, ", "))
				} else if *replay != 0 {
					t.Logf("seed %d: %s", seed, strings.Join(r.steps, ", "))
				}
			}
		})
	}
	return ran, err
}

func TestConfirmedCommit_MatchesItsModelInRandomSequences(t *testing.T) {
	first, count := uint64(1), randomSequences
	if *replay != 0 {
		first, count = *replay, 1
	}
	begun := time.Now()
	ran, err := runSequences(t, first, count, variant{})
	if err != nil {
		t.Fatalf("%v\nto replay it, run this test alone with -confirmed.seed", err)
	}
	t.Logf("%d sequences in %s", ran, time.Since(begun).Round(100*time.Millisecond))
}
