package spool

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"sealpost/hal/simflash"
)

var nextKey = bytes.Repeat([]byte{9}, KeySize)

// wrappedRing returns a ring that has wrapped and was opened three times, with
// its highest epoch. The header of the next segment is the one from before the
// last start, as after a power cut, so no first header has that epoch.
func wrappedRing(t *testing.T) (*simflash.Flash, *model, uint64) {
	t.Helper()
	flash, w := simflash.New(testRing, 1), newModel()
	must(t, runUntilError(flash, w, largeMessages))
	must(t, runUntilError(flash, w, smallMessages))
	s, _ := mustOpen(t, flash, Limits{})
	must(t, errors.Join(w.adopt(s), smallMessages(w, s), w.sync(s), s.Close()))
	if s.tail.ready == nil {
		t.Fatal("no segment is prepared")
	}
	before := *s.tail.ready
	before.epoch = s.tail.run.epoch - 1
	_, err := flash.WriteAt(s.keys.headerPage(s.geometry, before), before.at)
	must(t, errors.Join(err, flash.Flush()))
	return flash, w, s.tail.run.epoch
}

func mustFormat(t *testing.T, flash *simflash.Flash) {
	t.Helper()
	s, recovery, err := Open(flash, nextKey, Limits{})
	if err != nil || !recovery.Formatted || recovery.Messages != 0 || len(recovery.Damaged) != 0 {
		t.Fatalf("got %+v, %v", recovery, err)
	}
	_, err = newModel().commit(s, 1, 100)
	must(t, errors.Join(err, s.Close()))
}

func TestErase_LeavesARegionThatOpenFormats(t *testing.T) {
	full, _, _ := wrappedRing(t)
	foreign := simflash.New(testRing+12345, 1)
	_, err := foreign.WriteAt([]byte("somebody's photographs"), testRing+12300)
	must(t, err)
	for name, flash := range map[string]*simflash.Flash{"a ring": full, "something else": foreign, "nothing": simflash.New(testRing, 1)} {
		must(t, Erase(flash))
		content := make([]byte, flash.Size())
		_, err := flash.ReadAt(content, 0)
		must(t, err)
		if !isZero(content) {
			t.Errorf("%s: region is not zeroed", name)
		}
		mustFormat(t, flash)
	}
	if err := Erase(simflash.New(testRing/2, 1)); err == nil {
		t.Error("Erase accepted a region that is too small")
	}
}

func TestErase_ReturnsFlashErrors(t *testing.T) {
	for call := 1; call < 12; call++ {
		flash := simflash.New(testRing, 1)
		flash.At(call, simflash.Failed)
		if err := Erase(flash); !errors.Is(err, simflash.ErrIO) {
			t.Errorf("call %d failed: got %v, want ErrIO", call, err)
		}
	}
	flash, _, _ := wrappedRing(t)
	flash.FailReads(0, 1)
	must(t, Erase(flash))
}

// callCount returns the number of writes and flushes so far.
func callCount(flash *simflash.Flash) int {
	c := flash.Counts()
	return c.Writes + c.Flushes
}

// checkHalfErased checks the flash after a power cut during Erase.
func checkHalfErased(flash *simflash.Flash, w *model, epoch uint64) (kept bool, err error) {
	s, recovery, err := Open(flash, testKey, Limits{})
	if errors.Is(err, ErrForeign) || recovery.Formatted {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer s.Close()
	if s.tail.epoch < epoch {
		return true, fmt.Errorf("epoch %d would be reused", epoch)
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
		if name := string(envelope); w.flushed[name] || !bytes.Equal(body, w.offered[name]) {
			return true, fmt.Errorf("%q: removed %t, %d bytes", name, w.flushed[name], len(body))
		}
	}
	return true, nil
}

func TestErase_RestoresNothingAfterAPowerCut(t *testing.T) {
	erased, _, _ := wrappedRing(t)
	before := callCount(erased)
	must(t, Erase(erased))
	kept := map[bool]int{}
	for call := 1; call <= callCount(erased)-before; call++ {
		flash, w, epoch := wrappedRing(t)
		flash.At(callCount(flash)+call, simflash.Cut)
		if err := Erase(flash); !errors.Is(err, simflash.ErrPowerCut) {
			t.Fatalf("cut at call %d: got %v, want %v", call, err, simflash.ErrPowerCut)
		}
		for left := range flash.PowerCut(8) {
			opens, err := checkHalfErased(left, w, epoch)
			if err != nil {
				t.Fatalf("cut at call %d: %v", call, err)
			}
			kept[opens]++
			must(t, Erase(left))
			mustFormat(t, left)
		}
	}
	if kept[true] < 10 || kept[false] < 10 {
		t.Errorf("got %d rings that open and %d erased ones, want at least 10 each", kept[true], kept[false])
	}
}
