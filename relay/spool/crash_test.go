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

// script is a workload that ends with the first error.
type script func(w *world, s *Spool) error

// letters keeps to one segment: commits, notes, removals, restarts.
func letters(w *world, s *Spool) error {
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

// scans fills and frees segments, so that the ring goes round and what stays
// is moved.
func scans(w *world, s *Spool) error {
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

// calls counts the writes and flushes of a workload that nothing disturbs.
func calls(t *testing.T, run script, prepare func(*simflash.Flash, *world)) int {
	flash, w := simflash.New(testRing, 1), newWorld()
	prepare(flash, w)
	s, _ := mustOpen(t, flash, Limits{})
	must(t, run(w, s))
	must(t, s.Close())
	counts := flash.Counts()
	return counts.Writes + counts.Flushes
}

func nothing(*simflash.Flash, *world) {}

// disturbed runs a workload until its fate comes.
func disturbed(flash hal.Flash, w *world, run script) error {
	s, _, err := Open(flash, testKey, Limits{})
	if err != nil {
		return err
	}
	if err = w.adopt(s); err == nil {
		err = run(w, s)
	}
	return errors.Join(err, s.Close())
}

// recovered opens what a crash left and holds it against the model. A crash
// alone damages nothing.
func recovered(flash hal.Flash, w *world) error {
	damaged, err := held(flash, w)
	for _, d := range damaged {
		if d.Reason == reasonUnreadable || d.Reason == reasonIncomplete {
			err = fmt.Errorf("damage where there was only a crash: %v", d)
		}
	}
	return err
}

// held opens a ring and holds what is on it against the model.
func held(flash hal.Flash, w *world) ([]Damage, error) {
	s, recovery, err := Open(flash, testKey, Limits{})
	if err != nil {
		return nil, fmt.Errorf("opening: %w", err)
	}
	return recovery.Damaged, errors.Join(w.check(s, ""), s.Close())
}

func TestNothingAnsweredIsLostWhereverThePowerIsCut(t *testing.T) {
	var states atomic.Int64
	for _, c := range []struct {
		name        string
		run         script
		once, twice int // states tried after a first and after a second cut
	}{{"letters", letters, perCut, 3}, {"scans", scans, perCut / 60, 2}} {
		for part := range 2 {
			t.Run(fmt.Sprint(c.name, part), func(t *testing.T) {
				t.Parallel()
				for call := 1 + part; call <= calls(t, c.run, nothing); call += 2 {
					states.Add(cutAt(t, c.run, call, c.once, c.twice))
				}
			})
		}
	}
	t.Cleanup(func() {
		t.Logf("%d crash states", states.Load())
		if states.Load() < leastStates {
			t.Errorf("only %d crash states were tried", states.Load())
		}
	})
}

// cutAt cuts the power at one call and tries what may be left; from some of
// that it goes on and cuts again.
func cutAt(t *testing.T, run script, call, once, twice int) (states int64) {
	flash, w := simflash.New(testRing, uint64(call)), newWorld()
	flash.At(call, simflash.Cut)
	_ = disturbed(flash, w, run)
	random := rand.New(rand.NewPCG(uint64(call), 2))
	for after := range flash.PowerCut(once) {
		states++
		if states%16 == 0 {
			states += cutAgain(t, after, w.clone(), random, run, twice)
			continue
		}
		if err := recovered(after, w.clone()); err != nil {
			t.Fatalf("cut at call %d, state %d: %v", call, states, err)
		}
	}
	return states
}

func cutAgain(t *testing.T, flash *simflash.Flash, w *world, random *rand.Rand, run script, limit int) (states int64) {
	call := 1 + random.IntN(20)
	flash.At(call, simflash.Cut)
	_ = disturbed(flash, w, run)
	for after := range flash.PowerCut(limit) {
		states++
		if err := recovered(after, w.clone()); err != nil {
			t.Fatalf("second cut at call %d: %v", call, err)
		}
	}
	return states
}

func TestAfterAnErrorOfTheFlashNothingIsPromisedAndNothingLost(t *testing.T) {
	for fate, want := range map[simflash.Fate]error{
		simflash.Failed: simflash.ErrIO, simflash.Short: simflash.ErrIO, simflash.NoSpace: simflash.ErrNoSpace,
	} {
		for call := 2; call <= calls(t, letters, nothing); call++ {
			flash, w := simflash.New(testRing, uint64(call)), newWorld()
			flash.At(call, fate)
			if err := disturbed(flash, w, letters); !errors.Is(err, want) {
				t.Fatalf("call %d failed and the answer was %v", call, err)
			}
			if _, err := held(flash, w.clone()); err != nil {
				t.Fatalf("restarted after call %d failed: %v", call, err)
			}
			for after := range flash.PowerCut(20) {
				// A flush that failed may show frames that are not there, and the
				// start before the cut may have gone on behind them.
				if _, err := held(after, w.clone()); err != nil {
					t.Fatalf("power cut after call %d failed: %v", call, err)
				}
			}
		}
	}
}
