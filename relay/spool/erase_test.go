package spool

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"sealpost/hal/simflash"
)

var nextKey = bytes.Repeat([]byte{9}, KeySize)

// rounds is a ring that went round and was started three times, and its
// highest epoch. A power cut has left the header prepared for the next segment
// as it was before the last start, so no first header shows that epoch.
func rounds(t *testing.T) (*simflash.Flash, *world, uint64) {
	t.Helper()
	flash, w := simflash.New(testRing, 1), newWorld()
	must(t, disturbed(flash, w, scans))
	must(t, disturbed(flash, w, letters))
	s, _ := mustOpen(t, flash, Limits{})
	must(t, errors.Join(w.adopt(s), letters(w, s), w.sync(s), s.Close()))
	if s.tail.ready == nil {
		t.Fatal("no segment is prepared")
	}
	before := *s.tail.ready
	before.epoch = s.tail.run.epoch - 1
	_, err := flash.WriteAt(s.keys.headerPage(s.geometry, before), before.at)
	must(t, errors.Join(err, flash.Flush()))
	return flash, w, s.tail.run.epoch
}

func mustBeNew(t *testing.T, flash *simflash.Flash) {
	t.Helper()
	s, recovery, err := Open(flash, nextKey, Limits{})
	if err != nil || !recovery.Formatted || recovery.Messages != 0 || len(recovery.Damaged) != 0 {
		t.Fatalf("%+v, %v", recovery, err)
	}
	_, err = newWorld().commit(s, 1, 100)
	must(t, errors.Join(err, s.Close()))
}

func TestAnErasedRegionIsANewRingUnderANewKey(t *testing.T) {
	full, _, _ := rounds(t)
	foreign := simflash.New(testRing+12345, 1)
	_, err := foreign.WriteAt([]byte("somebody's photographs"), testRing+12300)
	must(t, err)
	for name, flash := range map[string]*simflash.Flash{"a ring": full, "something else": foreign, "nothing": simflash.New(testRing, 1)} {
		must(t, Erase(flash))
		content := make([]byte, flash.Size())
		_, err := flash.ReadAt(content, 0)
		must(t, err)
		if !blank(content) {
			t.Errorf("of %s something is left", name)
		}
		mustBeNew(t, flash)
	}
	if err := Erase(simflash.New(testRing/2, 1)); err == nil {
		t.Error("a region that is too small was taken")
	}
}

func TestAnErrorOfTheFlashStopsErasingInWords(t *testing.T) {
	for call := 1; call < 12; call++ {
		flash := simflash.New(testRing, 1)
		flash.At(call, simflash.Failed)
		if err := Erase(flash); !errors.Is(err, simflash.ErrIO) {
			t.Errorf("call %d failed and the answer was %v", call, err)
		}
	}
	flash, _, _ := rounds(t)
	flash.FailReads(0, 1)
	must(t, Erase(flash))
}

// made counts the calls so far.
func made(flash *simflash.Flash) int {
	c := flash.Counts()
	return c.Writes + c.Flushes
}

// halfErased holds what a power cut left of erasing against what may be left.
func halfErased(flash *simflash.Flash, w *world, epoch uint64) (kept bool, err error) {
	s, recovery, err := Open(flash, testKey, Limits{})
	if errors.Is(err, ErrForeign) || recovery.Formatted {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer s.Close()
	if s.tail.epoch < epoch {
		return true, fmt.Errorf("epoch %d comes again", epoch)
	}
	for m := range s.Messages() {
		if m.Damaged {
			continue
		}
		envelope, err := s.Envelope(m.ID)
		body, err2 := readAll(s, m.ID)
		if err := errors.Join(err, err2); err != nil {
			return true, err
		}
		if name := string(envelope); w.gone[name] || !bytes.Equal(body, w.offered[name]) {
			return true, fmt.Errorf("%q: gone %t, %d bytes", name, w.gone[name], len(body))
		}
	}
	return true, nil
}

func TestAPowerCutWhileErasingBringsNothingBackAndEndsWithASecondErase(t *testing.T) {
	erased, _, _ := rounds(t)
	before := made(erased)
	must(t, Erase(erased))
	kept := map[bool]int{}
	for call := 1; call <= made(erased)-before; call++ {
		flash, w, epoch := rounds(t)
		flash.At(made(flash)+call, simflash.Cut)
		if err := Erase(flash); !errors.Is(err, simflash.ErrPowerCut) {
			t.Fatalf("cut at call %d: %v", call, err)
		}
		for left := range flash.PowerCut(8) {
			opens, err := halfErased(left, w, epoch)
			if err != nil {
				t.Fatalf("cut at call %d: %v", call, err)
			}
			kept[opens]++
			must(t, Erase(left))
			mustBeNew(t, left)
		}
	}
	if kept[true] < 10 || kept[false] < 10 {
		t.Errorf("the old ring opened %d times and was gone %d times", kept[true], kept[false])
	}
}
