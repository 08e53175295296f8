package spool

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sealpost/hal"
	"sealpost/hal/simflash"
)

// slow takes as long for a flush as real flash, so that others gather.
type slow struct {
	hal.Flash
}

func (f slow) Flush() error {
	time.Sleep(time.Millisecond)
	return f.Flash.Flush()
}

func TestFlashIsHardlyWrittenMoreThanTheMailItself(t *testing.T) {
	for _, c := range []struct {
		clients, each, size int
		bytes, flushes      float64 // at most, per message; bytes over payload
	}{
		{1, 100, 4 << 10, 2.25, 1.02},
		{20, 20, 4 << 10, 1.3, 0.2},
		{100, 5, 4 << 10, 1.15, 0.1},
		{1, 10, 1 << 20, 1.05, 1.5},
		{10, 3, 1 << 20, 1.05, 1},
	} {
		t.Run(fmt.Sprintf("%d clients, %d bytes", c.clients, c.size), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				flash := simflash.New(64<<20, 1)
				s, _ := mustOpen(t, slow{flash}, Limits{})
				before := flash.Counts()
				for range c.each {
					must(t, sameBatch(s, c.clients, c.size))
				}
				after, n := flash.Counts(), float64(c.clients*c.each)
				ratio := float64(after.Bytes-before.Bytes) / n / float64(c.size)
				flushes := float64(after.Flushes-before.Flushes) / n
				t.Logf("%.3f of the payload, %.3f flushes a message", ratio, flushes)
				if ratio > c.bytes || flushes > c.flushes {
					t.Errorf("over %.2f of the payload or %.2f flushes", c.bytes, c.flushes)
				}
				must(t, s.Close())
			})
		})
	}
}

// sameBatch commits one message of each client, all at once.
func sameBatch(s *Spool, clients, size int) error {
	body := bytes.Repeat([]byte("m"), size)
	errs := make(chan error, clients)
	var wait sync.WaitGroup
	for client := range clients {
		wait.Go(func() { errs <- commitOne(s, uint64(client), body) })
	}
	wait.Wait()
	for range clients {
		if err := <-errs; err != nil {
			return err
		}
	}
	return nil
}

func commitOne(s *Spool, client uint64, body []byte) error {
	e, err := s.Create(client, int64(len(body)), []byte("an envelope of some forty bytes or so...."))
	if err != nil {
		return err
	}
	if _, err := e.Write(body); err != nil {
		e.Abort()
		return err
	}
	_, err = e.Commit(context.Background())
	return err
}

func heapInUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestAQueuedMessageTakesLessThan300BytesOfMemory(t *testing.T) {
	const n = 100_000
	g, err := geometryOf(1 << 30)
	must(t, err)
	before := heapInUse()
	x := newIndex(g)
	for id := range ID(n) {
		x.messages[id] = &message{}
		at := int64(id)*4096 + 4096
		x.apply(&record{kind: pieceRecord, id: id}, at, 0, ref{at, 4200, 1})
		x.apply(&record{kind: endRecord, id: id, client: uint64(id % 100), size: 4096, index: 1, envelope: 104}, at, 1, ref{})
		x.apply(&record{kind: noteRecord, id: id, data: make([]byte, 50)}, at, 2, ref{})
	}
	each := (heapInUse() - before) / n
	t.Logf("%d bytes a message", each)
	if each >= 300 || len(x.messages) != n {
		t.Errorf("%d bytes a message", each)
	}
}

func TestAPersonCanReadTheDump(t *testing.T) {
	flash, w := simflash.New(testRing, 1), newWorld()
	must(t, disturbed(flash, w, letters))
	var out strings.Builder
	must(t, Dump(&out, flash, flash.Size(), testKey))
	for _, want := range []string{"segment 0 at 0", "run at 0: epoch 1", "piece 0 of message 1: 310 bytes", "end of message 2:", "message 1 removed", "note of message 6", "memo: 1 bytes", "segment 3 at 786432: no header"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if err := Dump(&out, flash, flash.Size(), make([]byte, KeySize)); err == nil {
		t.Error("dumped under another key")
	}
}

func TestVerifyFindsWhatNobodyHasReadYetAndStatCounts(t *testing.T) {
	flash, w := simflash.New(testRing, 1), newWorld()
	s, _ := mustOpen(t, flash, Limits{})
	for range 3 {
		_, err := w.commit(s, 9, 5000)
		must(t, err)
	}
	if damage := s.Verify(); len(damage) != 0 {
		t.Errorf("damage where there is none: %v", damage)
	}
	flash.FlipBit((s.index.messages[2].first.at + 100) * 8)
	if damage := s.Verify(); len(damage) != 1 || damage[0].ID != 2 {
		t.Errorf("got %v", damage)
	}
	stat := s.Stat()
	if stat.Messages != 3 || stat.Damaged != 1 || stat.Clients != 1 || stat.Segments != 4 || stat.Free != 3 || stat.Room <= 0 || stat.Bytes < 15_000 {
		t.Errorf("%+v", stat)
	}
}
