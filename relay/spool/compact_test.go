package spool

import (
	"errors"
	"testing"
	"testing/synctest"

	"sealpost/hal"
	"sealpost/hal/simflash"
)

// fill commits messages until the ring is full.
func fill(t *testing.T, w *model, s *Spool, size int) (names []string) {
	t.Helper()
	for {
		name, err := w.commit(s, 1, size)
		if errors.Is(err, ErrFull) {
			return names
		}
		must(t, err)
		names = append(names, name)
	}
}

func TestCreate_WaitsForSpaceBeingFreed(t *testing.T) {
	for kept, every := range map[string]int{"nothing": 1 << 30, "one in six": 6, "one in three": 3} {
		t.Run("keeping "+kept, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, _ := mustOpen(t, slowFlash{simflash.New(2<<20, 1)}, Limits{})
				w := newModel()
				for i, name := range fill(t, w, s, 9000) {
					if i%every != 1 {
						must(t, w.remove(s, name))
					}
				}
				// At least this much of the removed messages becomes free space.
				for range 20 {
					if _, err := w.commit(s, 1, 9000); err != nil {
						t.Fatalf("commit after the removals: %v", err)
					}
				}
				must(t, errors.Join(w.check(s, ""), s.Close()))
			})
		})
	}
}

func TestCreate_FailsAtOnceWhenTheRingIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		flash := simflash.New(testRing, 1)
		s, _ := mustOpen(t, slowFlash{flash}, Limits{})
		fill(t, newModel(), s, 9000)
		synctest.Wait()
		before := flash.Counts()
		for range 100 {
			if _, err := s.Create(1, 9000, nil); !errors.Is(err, ErrFull) {
				t.Fatalf("got %v, want %v", err, ErrFull)
			}
		}
		if after := flash.Counts(); after != before {
			t.Errorf("got flash counts %+v, want %+v", after, before)
		}
		must(t, s.Close())
	})
}

// hookedFlash calls read before each read.
type hookedFlash struct {
	hal.Flash
	read func(at int64)
}

func (f *hookedFlash) ReadAt(p []byte, at int64) (int, error) {
	f.read(at)
	return f.Flash.ReadAt(p, at)
}

func TestCompact_ToleratesRemovalDuringTheMove(t *testing.T) {
	hook := make(chan func(), 1)
	flash := &hookedFlash{simflash.New(testRing, 1), func(at int64) {
		if at < minSegment {
			select {
			case remove := <-hook:
				remove()
			default:
			}
		}
	}}
	s, _ := mustOpen(t, flash, Limits{})
	w := newModel()
	var kept []ID
	for i := range 12 {
		name, err := w.commit(s, 1, 18_000)
		must(t, err)
		if i < 5 {
			kept = append(kept, w.ids[name])
			w.removed[name] = true
		} else {
			must(t, w.remove(s, name))
		}
	}
	hook <- func() {
		for _, id := range kept {
			must(t, s.Remove(id))
		}
	}
	for range 20 {
		_, err := w.commit(s, 1, 18_000)
		must(t, err)
	}
	must(t, w.sync(s))
	if damage := s.Damages(); len(hook) > 0 || len(damage) > 0 {
		t.Errorf("hook not called %t, damage %v", len(hook) > 0, damage)
	}
	must(t, w.check(s, ""))
}
