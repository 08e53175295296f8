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

// slowFlash flushes as slowly as real flash, so that commits gather.
type slowFlash struct {
	hal.Flash
}

func (f slowFlash) Flush() error {
	time.Sleep(time.Millisecond)
	return f.Flash.Flush()
}

func TestSpool_HasLowWriteAmplification(t *testing.T) {
	for _, c := range []struct {
		clients, each, size int
		bytes, flushes      float64 // upper limits per message; bytes relative to the payload
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
				s, _ := mustOpen(t, slowFlash{flash}, Limits{})
				before := flash.Counts()
				for range c.each {
					must(t, commitTogether(s, c.clients, c.size))
				}
				after, n := flash.Counts(), float64(c.clients*c.each)
				ratio := float64(after.Bytes-before.Bytes) / n / float64(c.size)
				flushes := float64(after.Flushes-before.Flushes) / n
				t.Logf("%.3f × payload, %.3f flushes per message", ratio, flushes)
				if ratio > c.bytes || flushes > c.flushes {
					t.Errorf("want at most %.2f × payload and %.2f flushes", c.bytes, c.flushes)
				}
				must(t, s.Close())
			})
		})
	}
}

// commitTogether commits one message of each client concurrently.
func commitTogether(s *Spool, clients, size int) error {
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

func TestIndex_UsesLessThan300BytesPerMessage(t *testing.T) {
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
		t.Errorf("got %d bytes per message, want less than 300", each)
	}
}

func TestDump_DescribesTheRing(t *testing.T) {
	flash, w := simflash.New(testRing, 1), newModel()
	must(t, runUntilError(flash, w, smallMessages))
	var out strings.Builder
	must(t, Dump(&out, flash, flash.Size(), testKey))
	for _, want := range []string{"segment 0 at 0", "run at 0: epoch 1", "piece 0 of message 1: 310 bytes", "end of message 2:", "message 1 removed", "note of message 6", "memo: 1 bytes", "segment 3 at 786432: no header"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("dump lacks %q:\n%s", want, out.String())
		}
	}
	if err := Dump(&out, flash, flash.Size(), make([]byte, KeySize)); err == nil {
		t.Error("Dump succeeded with another key")
	}
}

func TestVerify_FindsDamage(t *testing.T) {
	flash, w := simflash.New(testRing, 1), newModel()
	s, _ := mustOpen(t, flash, Limits{})
	for range 3 {
		_, err := w.commit(s, 9, 5000)
		must(t, err)
	}
	if damage := s.Verify(); len(damage) != 0 {
		t.Errorf("got %v, want no damage", damage)
	}
	flash.FlipBit((s.index.messages[2].first.at + 100) * 8)
	if damage := s.Verify(); len(damage) != 1 || damage[0].ID != 2 {
		t.Errorf("got %v", damage)
	}
	stat := s.Stat()
	if stat.Messages != 3 || stat.Damaged != 1 || stat.Clients != 1 || stat.Segments != 4 || stat.Free != 3 || stat.Room <= 0 || stat.Bytes < 15_000 {
		t.Errorf("got %+v", stat)
	}
}
