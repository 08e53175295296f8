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

func TestSpool_RestoresAMessageAcrossSegments(t *testing.T) {
	flash := simflash.New(8<<20, 1)
	s, _ := mustOpen(t, flash, Limits{})
	w := newModel()
	for _, size := range []int{0, 1, 32<<10 - 10, 3 << 20, 1} {
		_, err := w.commit(s, 1, size)
		must(t, err)
	}
	must(t, w.check(s, ""))
	must(t, s.Close())
	reopened, recovery := mustOpen(t, flash, Limits{})
	must(t, w.check(reopened, ""))
	if recovery.Messages != 5 || len(recovery.Damaged) != 0 {
		t.Errorf("got %+v, want 5 messages and no damage", recovery)
	}
}

func TestOpen_RejectsAnotherKey(t *testing.T) {
	flash := simflash.New(testRing, 1)
	s, _ := mustOpen(t, flash, Limits{})
	w := newModel()
	_, err := w.commit(s, 1, 100)
	must(t, err)
	must(t, s.Close())
	before := flash.Counts().Writes
	if _, _, err := Open(flash, bytes.Repeat([]byte{8}, KeySize), Limits{}); !errors.Is(err, ErrKey) {
		t.Fatalf("another key: got %v, want ErrKey", err)
	}
	if flash.Counts().Writes != before {
		t.Error("Open wrote to the ring with another key")
	}
	reopened, _ := mustOpen(t, flash, Limits{})
	must(t, w.check(reopened, ""))
}

func TestOpen_RejectsForeignData(t *testing.T) {
	flash := simflash.New(testRing, 1)
	_, err := flash.WriteAt([]byte("somebody's photographs"), 300_000)
	must(t, err)
	if _, _, err := Open(flash, testKey, Limits{}); !errors.Is(err, ErrForeign) {
		t.Fatalf("got %v, want %v", err, ErrForeign)
	}
	if _, _, err := Open(simflash.New(testRing/2, 1), testKey, Limits{}); err == nil {
		t.Error("Open accepted a region that is too small")
	}
	if _, _, err := Open(simflash.New(testRing, 1), testKey[1:], Limits{}); err == nil {
		t.Error("Open accepted a short key")
	}
}

func TestUpdates_AreDurableAfterLazyDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		flash := simflash.New(testRing, 1)
		s, _ := mustOpen(t, flash, Limits{})
		w := newModel()
		kept, err := w.commit(s, 1, 10)
		must(t, err)
		dropped, err := w.commit(s, 1, 10)
		must(t, err)
		must(t, errors.Join(w.note(s, kept, "try at noon"), w.memo(s, "42 today"), w.remove(s, dropped)))
		before := flash.Counts()
		time.Sleep(LazyDelay + time.Millisecond)
		synctest.Wait()
		if n := flash.Counts().Flushes - before.Flushes; n != 1 {
			t.Errorf("got %d flushes, want 1", n)
		}
		for after := range flash.PowerCut(1) {
			reopened, _ := mustOpen(t, after, Limits{})
			note, err := reopened.NoteOf(w.ids[kept])
			if err != nil || string(note) != "try at noon" || string(reopened.Memo()) != "42 today" {
				t.Errorf("got note %q, %v, memo %q", note, err, reopened.Memo())
			}
			if _, err := reopened.Message(w.ids[dropped]); !errors.Is(err, ErrNotFound) {
				t.Errorf("removed message: got %v, want ErrNotFound", err)
			}
			must(t, reopened.Close())
		}
		_ = s.Close()
	})
}

func TestAbort_LeavesNothingBehind(t *testing.T) {
	flash := simflash.New(testRing, 1)
	s, _ := mustOpen(t, flash, Limits{})
	w := newModel()
	for range 10 {
		e, err := s.Create(1, 0, []byte("x"))
		must(t, err)
		_, err = e.Write(make([]byte, 150_000))
		must(t, err)
		_, err = w.commit(s, 2, 10)
		must(t, err)
		e.Abort()
		// The second Sync waits for the compaction after the first.
		must(t, errors.Join(w.sync(s), w.sync(s)))
		if _, err := e.Write([]byte("more")); err == nil {
			t.Fatal("Write succeeded after Abort")
		}
	}
	must(t, w.check(s, ""))
	must(t, s.Close())
	reopened, _ := mustOpen(t, flash, Limits{})
	must(t, w.check(reopened, ""))
	if reopened.reserved != 0 || reopened.inFlight != 0 || len(reopened.index.clients) != 1 {
		t.Errorf("got %d reserved, %d in flight, clients %v", reopened.reserved, reopened.inFlight, reopened.index.clients)
	}
}

func TestShare_LimitsOneClient(t *testing.T) {
	const share = 4 << 20
	flash := simflash.New(8<<20, 1)
	s, _ := mustOpen(t, flash, Limits{Share: share})
	w := newModel()
	var first, others []string
	for {
		name, err := w.commit(s, 1, 30_000)
		if errors.Is(err, ErrShare) {
			break
		}
		must(t, err)
		first = append(first, name)
	}
	for client := uint64(2); ; client++ {
		name, err := w.commit(s, client, 30_000)
		if errors.Is(err, ErrFull) {
			break
		}
		must(t, err)
		others = append(others, name)
	}
	if len(first) < 120 || len(others) < 50 {
		t.Errorf("got %d messages of the first client and %d of others", len(first), len(others))
	}
	for round := 0; len(first)+len(others) > 0; round++ {
		must(t, s.Close())
		s, _ = mustOpen(t, flash, Limits{Share: share})
		must(t, w.check(s, ""))
		for i := 0; i < 40 && len(first) > 0; i++ {
			must(t, w.remove(s, first[0]))
			first = first[1:]
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

func TestRemove_IsRecordedInAFullRing(t *testing.T) {
	flash := simflash.New(testRing, 1)
	s, _ := mustOpen(t, flash, Limits{})
	w := newModel()
	for {
		if _, err := w.commit(s, 1, 3000); errors.Is(err, ErrFull) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	total := len(w.committed)
	random := rand.New(rand.NewPCG(1, 1))
	for i := range total {
		name := ""
		for n := range w.committed {
			if !w.removed[n] {
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
		t.Errorf("got %d messages in the ring, want at least 50", total)
	}
}

func TestSpool_LosesOneMessageToABadSector(t *testing.T) {
	flash := simflash.New(testRing, 1)
	s, _ := mustOpen(t, flash, Limits{})
	w := newModel()
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
		t.Errorf("got %v, want %v", err, ErrDamaged)
	}
	must(t, w.check(s, "envelope 1"))
	_, err := w.commit(s, 1, 10)
	must(t, err)
	must(t, s.Remove(id))
	must(t, s.Close())
}

func TestOpen_SurvivesABadSectorInAHeader(t *testing.T) {
	flash, w := simflash.New(testRing, 1), newModel()
	must(t, runUntilError(flash, w, smallMessages))
	flash.FailReads(0, 1)
	s, recovery := mustOpen(t, flash, Limits{})
	must(t, w.check(s, ""))
	if len(recovery.Damaged) == 0 {
		t.Error("bad sector not reported")
	}
}

func TestSpool_IsReadableWhenPoisoned(t *testing.T) {
	flash := simflash.New(testRing, 1)
	s, _ := mustOpen(t, flash, Limits{})
	w := newModel()
	_, err := w.commit(s, 1, 5000)
	must(t, err)
	c := flash.Counts()
	flash.At(c.Writes+c.Flushes+2, simflash.Failed)
	if _, err := w.commit(s, 1, 5000); !errors.Is(err, ErrPoisoned) || !errors.Is(err, simflash.ErrIO) {
		t.Errorf("failed batch: got %v", err)
	}
	if _, err := s.Create(1, 1, nil); !errors.Is(err, ErrPoisoned) || !errors.Is(s.Poisoned(), ErrPoisoned) {
		t.Errorf("next Create: got %v", err)
	}
	must(t, w.check(s, ""))
}

func TestCommit_RemovesTheMessageWhenItsContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := mustOpen(t, slowFlash{simflash.New(testRing, 1)}, Limits{})
		e, err := s.Create(1, 3, nil)
		must(t, err)
		_, err = e.Write([]byte("abc"))
		must(t, err)
		ctx, cancel := context.WithTimeout(context.Background(), time.Microsecond)
		defer cancel()
		if _, err := e.Commit(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
		}
		e.Abort()
		time.Sleep(time.Second)
		synctest.Wait()
		if _, err := s.Message(e.id); !errors.Is(err, ErrNotFound) {
			t.Errorf("message: got %v, want ErrNotFound", err)
		}
		must(t, s.Close())
	})
}

func TestSpool_AgreesWithTheModel(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	flash, w := simflash.New(testRing, 1), newModel()
	s, _ := mustOpen(t, flash, Limits{})
	for step := range 4000 {
		live := []string{}
		for name := range w.committed {
			if !w.removed[name] {
				live = append(live, name)
			}
		}
		switch choice := random.IntN(10); {
		case choice < 4:
			if _, err := w.commit(s, uint64(random.IntN(3)), random.IntN(12_000)); err != nil && !errors.Is(err, ErrFull) {
				t.Fatal(err)
			}
		case choice < 7 && len(live) > 0:
			must(t, w.remove(s, live[random.IntN(len(live))]))
		case choice < 9 && len(live) > 0:
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

func TestContent_ReadsToEOFAndFailsAfterClose(t *testing.T) {
	s, _ := mustOpen(t, simflash.New(testRing, 1), Limits{})
	w := newModel()
	name, err := w.commit(s, 1, 40_000)
	must(t, err)
	r, err := s.Content(w.ids[name])
	must(t, err)
	if n, err := io.Copy(io.Discard, r); n != 40_000 || err != nil {
		t.Errorf("got %d bytes, %v, want 40000", n, err)
	}
	must(t, r.Close())
	if _, err := r.Read(make([]byte, 1)); err == nil {
		t.Error("Read succeeded after Close")
	}
}

func TestCommit_FailsAfterTheWriterStopped(t *testing.T) {
	s, _, err := Open(simflash.New(8<<20, 1), bytes.Repeat([]byte{1}, KeySize), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// The writer has taken its last group but has not ended its last round.
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
	s.endRound()
	if err := <-committed; !errors.Is(err, ErrClosed) {
		t.Errorf("got %v, want %v", err, ErrClosed)
	}
}

func TestNote_SurvivesTheMoveOfItsMessage(t *testing.T) {
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
	noted := ID(0)
	for round := range 60 {
		s, _, err := Open(flash, bytes.Repeat([]byte{1}, KeySize), Limits{})
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case round == 0:
			noted = put(s, 100)
		case round == 5:
			err = s.Note(noted, []byte("one recipient has it"))
		case round > 5:
			var note []byte
			if note, err = s.NoteOf(noted); string(note) != "one recipient has it" {
				t.Fatalf("restart %d: got note %q, %v", round, note, err)
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

// TestShare_LeavesRoomForOthers has several clients that together would fill the
// ring.
func TestShare_LeavesRoomForOthers(t *testing.T) {
	s, _ := mustOpen(t, simflash.New(16<<20, 1), Limits{Share: 8 << 20})
	defer s.Close()
	w := newModel()
	const floods, size = 4, 30_000
	for full := 0; full < floods; {
		full = 0
		for client := uint64(1); client <= floods; client++ {
			_, err := w.commit(s, client, size)
			if errors.Is(err, ErrShare) {
				full++
				continue
			}
			must(t, err)
		}
	}
	others := 0
	for ; ; others++ {
		if _, err := w.commit(s, uint64(floods+1+others), size); err != nil {
			break
		}
	}
	if others < 60 {
		t.Errorf("got %d messages of others, want at least 60", others)
	}
}
