package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"sealpost/hal/simflash"
)

// memoryFlash is a Flash in memory without faults.
type memoryFlash []byte

func (m memoryFlash) ReadAt(p []byte, at int64) (int, error)  { return copy(p, m[at:]), nil }
func (m memoryFlash) WriteAt(p []byte, at int64) (int, error) { return copy(m[at:], p), nil }
func (m memoryFlash) Flush() error                            { return nil }
func (m memoryFlash) Size() int64                             { return int64(len(m)) }

// filledRing returns a ring after two starts, with shared frames, large
// messages, notes and removals, all durable, and its model.
func filledRing(t testing.TB) (memoryFlash, *model) {
	t.Helper()
	flash, w := simflash.New(testRing, 1), newModel()
	must(t, runUntilError(flash, w, smallMessages))
	must(t, runUntilError(flash, w, func(w *model, s *Spool) error {
		_, err := w.commit(s, 3, 40_000)
		return errors.Join(err, batchOf(w, s, 12), w.memo(s, "42 today"))
	}))
	s, _, err := Open(flash, testKey, Limits{})
	must(t, err)
	must(t, errors.Join(w.adopt(s), w.check(s, ""), s.Close()))
	ring := make(memoryFlash, testRing)
	_, err = io.ReadFull(io.NewSectionReader(flash, 0, testRing), ring)
	must(t, err)
	return ring, w
}

// ownerOfBytes returns for each byte of the ring the message whose content it
// holds.
func ownerOfBytes(t *testing.T, ring memoryFlash, w *model) []string {
	t.Helper()
	s, _ := mustOpen(t, memoryFlash(bytes.Clone(ring)), Limits{})
	owner := make([]string, len(ring))
	for name, id := range w.ids {
		m := s.index.messages[id]
		for i := uint32(0); m != nil && i < m.pieces; i++ {
			r := m.piece(i)
			for at := r.at; at < r.at+int64(r.sealed()); at++ {
				owner[at] = name
			}
		}
	}
	return owner
}

// checkFlippedBit flips one bit in a copy of the ring and checks the copy
// against the model.
func checkFlippedBit(ring, corrupted memoryFlash, w *model, bit int64, damaged string) error {
	copy(corrupted, ring)
	corrupted[bit/8] ^= 1 << (bit % 8)
	s, _, err := Open(corrupted, testKey, Limits{})
	if err != nil {
		return err
	}
	s.Verify()
	return errors.Join(w.clone().check(s, damaged), s.Close())
}

func TestSpool_LosesOneMessageToAFlippedBit(t *testing.T) {
	t.Parallel()
	ring, w := filledRing(t)
	owner := ownerOfBytes(t, ring, w)
	random, corrupted := rand.New(rand.NewPCG(1, 5)), make(memoryFlash, testRing)
	inMessages := 0
	for flips := 0; flips < bitFlips; {
		bit := random.Int64N(int64(len(ring)) * 8)
		damaged := owner[bit/8]
		// Half of the flips are outside of message content.
		if damaged == "" && ring[bit/8] == 0 || damaged != "" && 2*inMessages > flips {
			continue
		}
		if flips++; damaged != "" {
			inMessages++
		}
		if err := checkFlippedBit(ring, corrupted, w, bit, damaged); err != nil {
			t.Fatalf("bit %d, in %q: %v", bit, damaged, err)
		}
	}
}

func TestCrashTests_DetectASingleManifestCopy(t *testing.T) {
	ring, w := filledRing(t)
	k, err := newKeys(testKey)
	must(t, err)
	g, err := geometryOf(testRing)
	must(t, err)
	first, err := k.readHeader(ring[:pageSize], g, 0)
	must(t, err)
	var manifests []int64
	k.scan(ring[:g.segment], g, 0, first, visitor{func(run) {}, func(f *frame, segment []byte, _ bool) {
		manifests = append(manifests, f.at+prefixSize)
		end := int(f.at) + f.size
		clear(segment[end-prefixSize-f.manifest : end])
	}, func(int64, int64) {}})
	detected, corrupted := 0, make(memoryFlash, testRing)
	for _, at := range manifests {
		if checkFlippedBit(ring, corrupted, w, at*8, "") != nil {
			detected++
		}
	}
	if len(manifests) < 10 || detected < 5 {
		t.Errorf("detected %d times in %d frames", detected, len(manifests))
	}
}

// batchOf commits messages that share frames.
func batchOf(w *model, s *Spool, n int) error {
	var wait sync.WaitGroup
	errs := make([]error, n)
	for i := range n {
		w.number++
		name := fmt.Sprintf("envelope %d", w.number)
		body := bodyOf(uint64(w.number), 1000)
		w.offered[name], w.committed[name] = body, true
		wait.Go(func() {
			e, err := s.Create(uint64(i), 1000, []byte(name))
			if err == nil {
				_, err = e.Write(body)
			}
			if err == nil {
				_, err = e.Commit(context.Background())
			}
			errs[i] = err
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}
