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

// memory is flash that does as it is told.
type memory []byte

func (m memory) ReadAt(p []byte, at int64) (int, error)  { return copy(p, m[at:]), nil }
func (m memory) WriteAt(p []byte, at int64) (int, error) { return copy(m[at:], p), nil }
func (m memory) Flush() error                            { return nil }
func (m memory) Size() int64                             { return int64(len(m)) }

// lived is a ring after two starts, with messages that share frames, large
// ones, notes and removals, all of it durable, and the model of it.
func lived(t testing.TB) (memory, *world) {
	t.Helper()
	flash, w := simflash.New(testRing, 1), newWorld()
	must(t, disturbed(flash, w, letters))
	must(t, disturbed(flash, w, func(w *world, s *Spool) error {
		_, err := w.commit(s, 3, 40_000)
		return errors.Join(err, batchOf(w, s, 12), w.memo(s, "42 today"))
	}))
	s, _, err := Open(flash, testKey, Limits{})
	must(t, err)
	must(t, errors.Join(w.adopt(s), w.check(s, ""), s.Close()))
	ring := make(memory, testRing)
	_, err = io.ReadFull(io.NewSectionReader(flash, 0, testRing), ring)
	must(t, err)
	return ring, w
}

// owners tells for each byte of the ring which message's content it holds.
func owners(t *testing.T, ring memory, w *world) []string {
	t.Helper()
	s, _ := mustOpen(t, memory(bytes.Clone(ring)), Limits{})
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

// flipped opens a ring with one bit flipped, in a copy that may be used again,
// and holds it against the model.
func flipped(ring, spoilt memory, w *world, bit int64, damaged string) error {
	copy(spoilt, ring)
	spoilt[bit/8] ^= 1 << (bit % 8)
	s, _, err := Open(spoilt, testKey, Limits{})
	if err != nil {
		return err
	}
	s.Verify()
	return errors.Join(w.clone().check(s, damaged), s.Close())
}

func TestOneFlippedBitCostsTheMessageItIsInAndNothingElse(t *testing.T) {
	t.Parallel()
	ring, w := lived(t)
	owner := owners(t, ring, w)
	random, spoilt := rand.New(rand.NewPCG(1, 5)), make(memory, testRing)
	inMessages := 0
	for flips := 0; flips < bitFlips; {
		bit := random.Int64N(int64(len(ring)) * 8)
		damaged := owner[bit/8]
		// Half of the flips are for what lies between the messages.
		if damaged == "" && ring[bit/8] == 0 || damaged != "" && 2*inMessages > flips {
			continue
		}
		if flips++; damaged != "" {
			inMessages++
		}
		if err := flipped(ring, spoilt, w, bit, damaged); err != nil {
			t.Fatalf("bit %d, in %q: %v", bit, damaged, err)
		}
	}
}

func TestTheSuiteNoticesAManifestKeptOnce(t *testing.T) {
	ring, w := lived(t)
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
	noticed, spoilt := 0, make(memory, testRing)
	for _, at := range manifests {
		if flipped(ring, spoilt, w, at*8, "") != nil {
			noticed++
		}
	}
	if len(manifests) < 10 || noticed < 5 {
		t.Errorf("noticed %d times in %d frames", noticed, len(manifests))
	}
}

// batchOf commits messages that share frames.
func batchOf(w *world, s *Spool, n int) error {
	var wait sync.WaitGroup
	errs := make([]error, n)
	for i := range n {
		w.number++
		name := fmt.Sprintf("envelope %d", w.number)
		body := bodyOf(uint64(w.number), 1000)
		w.offered[name], w.answered[name] = body, true
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
