package spool

import (
	"errors"
	"testing"
	"testing/synctest"

	"sealpost/hal"
	"sealpost/hal/simflash"
)

// fill commits until the ring is full.
func fill(t *testing.T, w *world, s *Spool, size int) (names []string) {
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

func TestRoomThatIsJustBecomingFreeIsWaitedFor(t *testing.T) {
	for kept, every := range map[string]int{"nothing": 1 << 30, "one in six": 6, "one in three": 3} {
		t.Run("keeping "+kept, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, _ := mustOpen(t, slow{simflash.New(2<<20, 1)}, Limits{})
				w := newWorld()
				for i, name := range fill(t, w, s, 9000) {
					if i%every != 1 {
						must(t, w.remove(s, name))
					}
				}
				// Of what was removed a part is room for sure.
				for range 20 {
					if _, err := w.commit(s, 1, 9000); err != nil {
						t.Fatalf("right after the removals: %v", err)
					}
				}
				must(t, errors.Join(w.check(s, ""), s.Close()))
			})
		})
	}
}

func TestAFullRingThatFreesNothingAnswersAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		flash := simflash.New(testRing, 1)
		s, _ := mustOpen(t, slow{flash}, Limits{})
		fill(t, newWorld(), s, 9000)
		synctest.Wait()
		before := flash.Counts()
		for range 100 {
			if _, err := s.Create(1, 9000, nil); !errors.Is(err, ErrFull) {
				t.Fatal(err)
			}
		}
		if after := flash.Counts(); after != before {
			t.Errorf("refusing wrote: %+v, before %+v", after, before)
		}
		must(t, s.Close())
	})
}

// prying tells of each read before it is done.
type prying struct {
	hal.Flash
	read func(at int64)
}

func (f *prying) ReadAt(p []byte, at int64) (int, error) {
	f.read(at)
	return f.Flash.ReadAt(p, at)
}

func TestAMessageRemovedWhileItsSegmentIsMovedIsNoDamage(t *testing.T) {
	met := make(chan func(), 1)
	flash := &prying{simflash.New(testRing, 1), func(at int64) {
		if at < minSegment {
			select {
			case remove := <-met:
				remove()
			default:
			}
		}
	}}
	s, _ := mustOpen(t, flash, Limits{})
	w := newWorld()
	var kept []ID
	for i := range 12 {
		name, err := w.commit(s, 1, 18_000)
		must(t, err)
		if i < 5 {
			kept = append(kept, w.ids[name])
			w.asked[name] = true
		} else {
			must(t, w.remove(s, name))
		}
	}
	met <- func() {
		for _, id := range kept {
			must(t, s.Remove(id))
		}
	}
	for range 20 {
		_, err := w.commit(s, 1, 18_000)
		must(t, err)
	}
	must(t, w.sync(s))
	if damage := s.Damages(); len(met) > 0 || len(damage) > 0 {
		t.Errorf("met nothing %t, damage %v", len(met) > 0, damage)
	}
	must(t, w.check(s, ""))
}
