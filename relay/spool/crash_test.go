package spool

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"sealpost/hal"
	"sealpost/hal/simflash"
)

// workload is a sequence of operations that ends at the first error.
type workload func(w *model, s *Spool) error

// smallMessages stays within one segment: commits, notes, removals, restarts.
func smallMessages(w *model, s *Spool) error {
	var names []string
	for i := range 6 {
		name, err := w.commit(s, 1, 300+i*1700)
		if err != nil {
			return err
		}
		names = append(names, name)
		if err := w.note(s, name, fmt.Sprintf("note %d", i)); err != nil {
			return err
		}
		if i%2 == 1 {
			if err := errors.Join(w.remove(s, names[i-1]), w.memo(s, fmt.Sprint(i)), w.sync(s)); err != nil {
				return err
			}
		}
	}
	return w.remove(s, names[1])
}

// largeMessages fills and frees segments, so that the ring wraps and live
// records are moved.
func largeMessages(w *model, s *Spool) error {
	kept, err := w.commit(s, 1, 20_000)
	if err != nil {
		return err
	}
	for i := range 14 {
		name, err := w.commit(s, 1, 90_000)
		if err != nil {
			return err
		}
		if err := errors.Join(w.note(s, kept, fmt.Sprint(i)), w.remove(s, name), w.sync(s)); err != nil {
			return err
		}
	}
	return nil
}

// countCalls returns the number of writes and flushes of an undisturbed
// workload.
func countCalls(t *testing.T, run workload, prepare func(*simflash.Flash, *model)) int {
	flash, w := simflash.New(testRing, 1), newModel()
	prepare(flash, w)
	s, _ := mustOpen(t, flash, Limits{})
	must(t, run(w, s))
	must(t, s.Close())
	counts := flash.Counts()
	return counts.Writes + counts.Flushes
}

func noPreparation(*simflash.Flash, *model) {}

// runUntilError opens the spool and runs a workload until the injected fault.
func runUntilError(flash hal.Flash, w *model, run workload) error {
	s, _, err := Open(flash, testKey, Limits{})
	if err != nil {
		return err
	}
	if err = w.adopt(s); err == nil {
		err = run(w, s)
	}
	return errors.Join(err, s.Close())
}

// checkAfterCrash checks a ring after a crash against the model. A crash alone
// causes no damage.
func checkAfterCrash(flash hal.Flash, w *model) error {
	damaged, err := checkRing(flash, w)
	for _, d := range damaged {
		if d.Reason == reasonUnreadable || d.Reason == reasonIncomplete {
			err = fmt.Errorf("got damage after a crash alone: %v", d)
		}
	}
	return err
}

// checkRing opens a ring and checks it against the model.
func checkRing(flash hal.Flash, w *model) ([]Damage, error) {
	s, recovery, err := Open(flash, testKey, Limits{})
	if err != nil {
		return nil, fmt.Errorf("opening the spool: %w", err)
	}
	return recovery.Damaged, errors.Join(w.check(s, ""), s.Close())
}

func TestSpool_LosesNoCommittedMessageInAPowerCut(t *testing.T) {
	var states atomic.Int64
	for _, c := range []struct {
		name        string
		run         workload
		once, twice int // states tried after the first and the second cut
	}{{"letters", smallMessages, perCut, 3}, {"scans", largeMessages, perCut / 60, 2}} {
		for part := range 2 {
			t.Run(fmt.Sprint(c.name, part), func(t *testing.T) {
				t.Parallel()
				for call := 1 + part; call <= countCalls(t, c.run, noPreparation); call += 2 {
					states.Add(cutPowerAt(t, c.run, call, c.once, c.twice))
				}
			})
		}
	}
	t.Cleanup(func() {
		t.Logf("%d crash states", states.Load())
		if states.Load() < minStates {
			t.Errorf("got %d crash states, want at least %d", states.Load(), minStates)
		}
	})
}

// cutPowerAt cuts the power at one call and checks the possible states of the flash.
// From some of them it continues and cuts the power again.
func cutPowerAt(t *testing.T, run workload, call, once, twice int) (states int64) {
	flash, w := simflash.New(testRing, uint64(call)), newModel()
	flash.At(call, simflash.Cut)
	_ = runUntilError(flash, w, run)
	random := rand.New(rand.NewPCG(uint64(call), 2))
	for after := range flash.PowerCut(once) {
		states++
		if states%16 == 0 {
			states += cutPowerAgain(t, after, w.clone(), random, run, twice)
			continue
		}
		if err := checkAfterCrash(after, w.clone()); err != nil {
			t.Fatalf("cut at call %d, state %d: %v", call, states, err)
		}
	}
	return states
}

func cutPowerAgain(t *testing.T, flash *simflash.Flash, w *model, random *rand.Rand, run workload, limit int) (states int64) {
	call := 1 + random.IntN(20)
	flash.At(call, simflash.Cut)
	_ = runUntilError(flash, w, run)
	for after := range flash.PowerCut(limit) {
		states++
		if err := checkAfterCrash(after, w.clone()); err != nil {
			t.Fatalf("second cut at call %d: %v", call, err)
		}
	}
	return states
}

func TestSpool_LosesNoCommittedMessageAfterAFlashError(t *testing.T) {
	for outcome, want := range map[simflash.Outcome]error{
		simflash.Failed: simflash.ErrIO, simflash.Short: simflash.ErrIO, simflash.NoSpace: simflash.ErrNoSpace,
	} {
		for call := 2; call <= countCalls(t, smallMessages, noPreparation); call++ {
			flash, w := simflash.New(testRing, uint64(call)), newModel()
			flash.At(call, outcome)
			if err := runUntilError(flash, w, smallMessages); !errors.Is(err, want) {
				t.Fatalf("call %d failed: got %v, want %v", call, err, want)
			}
			if _, err := checkRing(flash, w.clone()); err != nil {
				t.Fatalf("restarted after call %d failed: %v", call, err)
			}
			for after := range flash.PowerCut(20) {
				// After a failed flush, frames may be readable that are not durable, and
				// the start before the cut may have continued after them.
				if _, err := checkRing(after, w.clone()); err != nil {
					t.Fatalf("power cut after call %d failed: %v", call, err)
				}
			}
		}
	}
}
