package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"sealpost/hal/simflash"
)

func TestALargeMessageSpansSegmentsAndComesBackWhole(t *testing.T) {
	flash := simflash.New(8<<20, 1)
	s, _ := mustOpen(t, flash, Limits{})
	w := newWorld()
	for _, size := range []int{0, 1, 32<<10 - 10, 3 << 20, 1} {
		_, err := w.commit(s, 1, size)
		must(t, err)
	}
	must(t, w.check(s, ""))
	must(t, s.Close())
	again, recovery := mustOpen(t, flash, Limits{})
	must(t, w.check(again, ""))
	if recovery.Messages != 5 || len(recovery.Damaged) != 0 {
		t.Errorf("%+v", recovery)
	}
}

func TestAnotherKeyIsRefusedInWordsAndDestroysNothing(t *testing.T) {
	flash := simflash.New(testRing, 1)
	s, _ := mustOpen(t, flash, Limits{})
	w := newWorld()
	_, err := w.commit(s, 1, 100)
	must(t, err)
	must(t, s.Close())
	before := flash.Counts().Writes
	if _, _, err := Open(flash, bytes.Repeat([]byte{8}, KeySize), Limits{}); !errors.Is(err, ErrKey) {
		t.Fatalf("another key: %v", err)
	}
	if flash.Counts().Writes != before {
		t.Error("the ring was written to under another key")
	}
	again, _ := mustOpen(t, flash, Limits{})
	must(t, w.check(again, ""))
}

func TestARegionWithSomethingElseInItIsNotFormatted(t *testing.T) {
	flash := simflash.New(testRing, 1)
	_, err := flash.WriteAt([]byte("somebody's photographs"), 300_000)
	must(t, err)
	if _, _, err := Open(flash, testKey, Limits{}); !errors.Is(err, ErrForeign) {
		t.Fatalf("got %v", err)
	}
	if _, _, err := Open(simflash.New(testRing/2, 1), testKey, Limits{}); err == nil {
		t.Error("a region that is too small was taken")
	}
	if _, _, err := Open(simflash.New(testRing, 1), testKey[1:], Limits{}); err == nil {
		t.Error("a short key was taken")
	}
}

func TestNotesRemovalsAndTheMemoAreDurableAfterTwoSecondsUnasked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		flash := simflash.New(testRing, 1)
		s, _ := mustOpen(t, flash, Limits{})
		w := newWorld()
		kept, err := w.commit(s, 1, 10)
		must(t, err)
		dropped, err := w.commit(s, 1, 10)
		must(t, err)
		must(t, errors.Join(w.note(s, kept, "try at noon"), w.memo(s, "42 today"), w.remove(s, dropped)))
		before := flash.Counts()
		time.Sleep(LazyDelay + time.Millisecond)
		synctest.Wait()
		if n := flash.Counts().Flushes - before.Flushes; n != 1 {
			t.Errorf("%d flushes", n)
		}
		for after := range flash.PowerCut(1) {
			again, _ := mustOpen(t, after, Limits{})
			note, err := again.NoteOf(w.ids[kept])
			if err != nil || string(note) != "try at noon" || string(again.Memo()) != "42 today" {
				t.Errorf("note %q, %v, memo %q", note, err, again.Memo())
			}
			if _, err := again.Message(w.ids[dropped]); !errors.Is(err, ErrNotFound) {
				t.Errorf("the removed message: %v", err)
			}
			must(t, again.Close())
		}
		_ = s.Close()
	})
}

func TestAMessageGivenUpHalfwayLeavesNothing(t *testing.T) {
	flash := simflash.New(testRing, 1)
	s, _ := mustOpen(t, flash, Limits{})
	w := newWorld()
	for range 10 {
		e, err := s.Create(1, 0, []byte("x"))
		must(t, err)
		_, err = e.Write(make([]byte, 150_000))
		must(t, err)
		_, err = w.commit(s, 2, 10)
		must(t, err)
		e.Abort()
		// The second is taken up after what the first left was cleaned up.
		must(t, errors.Join(w.sync(s), w.sync(s)))
		if _, err := e.Write([]byte("more")); err == nil {
			t.Fatal("an aborted entry takes content")
		}
	}
	must(t, w.check(s, ""))
	must(t, s.Close())
	again, _ := mustOpen(t, flash, Limits{})
	must(t, w.check(again, ""))
	if again.promised != 0 || again.flying != 0 || len(again.index.clients) != 1 {
		t.Errorf("promised %d, flying %d, clients %v", again.promised, again.flying, again.index.clients)
	}
}

func TestAFloodFromOneClientLeavesRoomForOthersAndTheRingEmptiesAgain(t *testing.T) {
	const share = 4 << 20
	flash := simflash.New(8<<20, 1)
	s, _ := mustOpen(t, flash, Limits{Share: share})
	w := newWorld()
	var flood, others []string
	for {
		name, err := w.commit(s, 1, 30_000)
		if errors.Is(err, ErrShare) {
			break
		}
		must(t, err)
		flood = append(flood, name)
	}
	for client := uint64(2); ; client++ {
		name, err := w.commit(s, client, 30_000)
		if errors.Is(err, ErrFull) {
			break
		}
		must(t, err)
		others = append(others, name)
	}
	if len(flood) < 120 || len(others) < 50 {
		t.Errorf("%d of the flood and %d others", len(flood), len(others))
	}
	for round := 0; len(flood)+len(others) > 0; round++ {
		must(t, s.Close())
		s, _ = mustOpen(t, flash, Limits{Share: share})
		must(t, w.check(s, ""))
		for i := 0; i < 40 && len(flood) > 0; i++ {
			must(t, w.remove(s, flood[0]))
			flood = flood[1:]
		}
		for i := 0; i < 20 && len(others) > 0; i++ {
			must(t, w.remove(s, others[0]))
			others = others[1:]
		}
		must(t, w.sync(s))
	}
	_, err := w.commit(s, 1, 3<<20)
	must(t, err)
	must(t, s.Close())
}

func TestAFullRingRecordsRemovalsThroughManyRestarts(t *testing.T) {
	flash := simflash.New(testRing, 1)
	s, _ := mustOpen(t, flash, Limits{})
	w := newWorld()
	for {
		if _, err := w.commit(s, 1, 3000); errors.Is(err, ErrFull) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	total := len(w.answered)
	random := rand.New(rand.NewPCG(1, 1))
	for i := range total {
		name := ""
		for n := range w.answered {
			if !w.asked[n] {
				name = n
				if random.IntN(3) == 0 {
					break
				}
			}
		}
		must(t, w.remove(s, name))
		must(t, w.sync(s))
		if i%2 == 0 {
			must(t, s.Close())
			s, _ = mustOpen(t, flash, Limits{})
			must(t, w.check(s, ""))
		}
	}
	if total < 50 {
		t.Errorf("only %d fitted", total)
	}
}

func TestOneBadSectorCostsOneMessage(t *testing.T) {
	flash := simflash.New(testRing, 1)
	s, _ := mustOpen(t, flash, Limits{})
	w := newWorld()
	for range 5 {
		_, err := w.commit(s, 1, 9000)
		must(t, err)
	}
	var id ID
	for m := range s.Messages() {
		id = m.ID
		break
	}
	at := s.index.messages[id].first.at
	flash.FailReads(at+2000, 1)
	if _, err := readAll(s, id); !errors.Is(err, ErrDamaged) {
		t.Errorf("got %v", err)
	}
	must(t, w.check(s, "envelope 1"))
	_, err := w.commit(s, 1, 10)
	must(t, err)
	must(t, s.Remove(id))
	must(t, s.Close())
}

func TestABadSectorInAHeaderCostsNothing(t *testing.T) {
	flash, w := simflash.New(testRing, 1), newWorld()
	must(t, disturbed(flash, w, letters))
	flash.FailReads(0, 1)
	s, recovery := mustOpen(t, flash, Limits{})
	must(t, w.check(s, ""))
	if len(recovery.Damaged) == 0 {
		t.Error("the bad sector was not reported")
	}
}

func TestReadersGoOnWhenTheSpoolIsPoisoned(t *testing.T) {
	flash := simflash.New(testRing, 1)
	s, _ := mustOpen(t, flash, Limits{})
	w := newWorld()
	_, err := w.commit(s, 1, 5000)
	must(t, err)
	c := flash.Counts()
	flash.At(c.Writes+c.Flushes+2, simflash.Failed)
	if _, err := w.commit(s, 1, 5000); !errors.Is(err, ErrPoisoned) || !errors.Is(err, simflash.ErrIO) {
		t.Errorf("the failed batch: %v", err)
	}
	if _, err := s.Create(1, 1, nil); !errors.Is(err, ErrPoisoned) || !errors.Is(s.Poisoned(), ErrPoisoned) {
		t.Errorf("after it: %v", err)
	}
	must(t, w.check(s, ""))
}

func TestACommitNobodyWaitsForIsTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := mustOpen(t, slow{simflash.New(testRing, 1)}, Limits{})
		e, err := s.Create(1, 3, nil)
		must(t, err)
		_, err = e.Write([]byte("abc"))
		must(t, err)
		ctx, cancel := context.WithTimeout(context.Background(), time.Microsecond)
		defer cancel()
		if _, err := e.Commit(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		e.Abort()
		time.Sleep(time.Second)
		synctest.Wait()
		if _, err := s.Message(e.id); !errors.Is(err, ErrNotFound) {
			t.Errorf("the message is there: %v", err)
		}
		must(t, s.Close())
	})
}

func TestARandomLifeAgreesWithAPlainMap(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	flash, w := simflash.New(testRing, 1), newWorld()
	s, _ := mustOpen(t, flash, Limits{})
	for step := range 4000 {
		live := []string{}
		for name := range w.answered {
			if !w.asked[name] {
				live = append(live, name)
			}
		}
		switch what := random.IntN(10); {
		case what < 4:
			if _, err := w.commit(s, uint64(random.IntN(3)), random.IntN(12_000)); err != nil && !errors.Is(err, ErrFull) {
				t.Fatal(err)
			}
		case what < 7 && len(live) > 0:
			must(t, w.remove(s, live[random.IntN(len(live))]))
		case what < 9 && len(live) > 0:
			must(t, w.note(s, live[random.IntN(len(live))], fmt.Sprint(step)))
		default:
			must(t, errors.Join(w.memo(s, fmt.Sprint(step)), w.sync(s)))
		}
		if step%100 == 99 {
			must(t, w.check(s, ""))
		}
		if step%300 == 299 {
			must(t, errors.Join(w.sync(s), s.Close()))
			s, _ = mustOpen(t, flash, Limits{})
			must(t, w.check(s, ""))
		}
	}
}

func TestReadingGivesEOFAndStopsAfterClose(t *testing.T) {
	s, _ := mustOpen(t, simflash.New(testRing, 1), Limits{})
	w := newWorld()
	name, err := w.commit(s, 1, 40_000)
	must(t, err)
	r, err := s.Content(w.ids[name])
	must(t, err)
	if n, err := io.Copy(io.Discard, r); n != 40_000 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	must(t, r.Close())
	if _, err := r.Read(make([]byte, 1)); err == nil {
		t.Error("a closed reader reads")
	}
}

func TestACommitThatTheWriterDidNotSeeBeforeItStoppedFails(t *testing.T) {
	s, _, err := Open(simflash.New(8<<20, 1), bytes.Repeat([]byte{1}, KeySize), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// The writer has taken its last group and has not yet said that it is done.
	s.closing = false
	e, err := s.Create(1, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	committed := make(chan error)
	go func() {
		_, err := e.Commit(context.Background())
		committed <- err
	}()
	<-s.wake
	s.closing = true
	s.finished()
	if err := <-committed; !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
}

func TestANoteOutlivesThatItsMessageIsMovedBehindIt(t *testing.T) {
	flash := simflash.New(8<<20, 1)
	put := func(s *Spool, size int) ID {
		t.Helper()
		e, err := s.Create(1, int64(size), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.Write(make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		id, err := e.Commit(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	kept := ID(0)
	for round := range 60 {
		s, _, err := Open(flash, bytes.Repeat([]byte{1}, KeySize), Limits{})
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case round == 0:
			kept = put(s, 100)
		case round == 5:
			err = s.Note(kept, []byte("one recipient has it"))
		case round > 5:
			var note []byte
			if note, err = s.NoteOf(kept); string(note) != "one recipient has it" {
				t.Fatalf("restart %d: the note is %q, %v", round, note, err)
			}
		}
		if err == nil {
			err = s.Remove(put(s, 300_000))
		}
		if err := errors.Join(err, s.Close()); err != nil {
			t.Fatal(err)
		}
	}
}
