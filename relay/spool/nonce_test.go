package spool

import (
	"bytes"
	"context"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"maps"
	"math/rand/v2"
	"testing"

	"sealpost/hal/simflash"
)

// nonces records what was sealed under each key and nonce.
type nonces struct {
	seen      map[string][sha256.Size]byte
	reused    *int // how often another plaintext was sealed under the same key and nonce
	ignoreKey bool // as if all runs had the same key, which shows that reuse is found
}

func (n nonces) clone() nonces {
	n.seen = maps.Clone(n.seen)
	return n
}

func (n nonces) keys(t *testing.T) *keys {
	k, err := newKeys(testKey)
	must(t, err)
	for suite, newAEAD := range k.ciphers {
		k.ciphers[suite] = func(key []byte) (cipher.AEAD, error) {
			aead, err := newAEAD(key)
			if n.ignoreKey {
				key = nil
			}
			return nonceRecorder{aead, bytes.Clone(key), n}, err
		}
	}
	return k
}

type nonceRecorder struct {
	cipher.AEAD
	key []byte
	nonces
}

func (r nonceRecorder) Seal(dst, nonce, plain, data []byte) []byte {
	place := string(r.key) + string(nonce)
	sum := sha256.Sum256(append(append([]byte{}, plain...), data...))
	if before, known := r.seen[place]; known && before != sum {
		*r.reused++
	}
	r.seen[place] = sum
	return r.AEAD.Seal(dst, nonce, plain, data)
}

// reusedNonces opens the ring three times: it crashes at a call of the first
// run and soon after the start of the second. It counts the nonces that sealed two
// different plaintexts in any history.
func reusedNonces(t *testing.T, run workload, call, limit int, ignoreKey bool, beforeRun func(*Spool)) int {
	reused := 0
	runAndClose := func(flash *simflash.Flash, before nonces, run workload) nonces {
		after := before.clone()
		if s, _, err := openWith(flash, after.keys(t), Limits{}); err == nil {
			beforeRun(s)
			_ = run(newModel(), s)
			_ = s.Close()
		}
		return after
	}
	commitOne := func(w *model, s *Spool) error {
		_, err := w.commit(s, 1, 1234+len(s.index.messages))
		return err
	}
	flash := simflash.New(testRing, uint64(call))
	flash.At(call, simflash.Cut)
	first := runAndClose(flash, nonces{map[string][sha256.Size]byte{}, &reused, ignoreKey}, run)
	for after := range flash.PowerCut(limit) {
		after.At(2+call%4, simflash.Cut)
		second := runAndClose(after, first, commitOne)
		for afterSecond := range after.PowerCut(limit) {
			runAndClose(afterSecond, second, commitOne)
		}
	}
	return reused
}

// The epochs alone must prevent reuse after a power cut: the keys are ignored.
func TestSpool_ReusesNoNonceAfterAPowerCut(t *testing.T) {
	reused := 0
	total := countCalls(t, smallMessages, noPreparation)
	for call := 1; call <= total; call += cutStep {
		if n := reusedNonces(t, smallMessages, call, 8, true, func(*Spool) {}); n > 0 {
			t.Errorf("small messages, cut at call %d: got %d reused nonces", call, n)
		}
		reused += reusedNonces(t, smallMessages, call, 2, true, func(s *Spool) { s.tail.epoch -= min(s.tail.epoch, 2) })
	}
	for call := 1; call <= countCalls(t, largeMessages, noPreparation); call += cutStep {
		if n := reusedNonces(t, largeMessages, call, 4, true, func(*Spool) {}); n > 0 {
			t.Errorf("large messages, cut at call %d: got %d reused nonces", call, n)
		}
	}
	if reused == 0 {
		t.Error("reused epoch not detected")
	}
}

// reusedNoncesOfCopies opens the ring once per run. Before about half of the runs the
// flash is replaced by one of its last copies.
func reusedNoncesOfCopies(t *testing.T, seed uint64, runs int, ignoreKey bool) int {
	reused := 0
	recorded := nonces{map[string][sha256.Size]byte{}, &reused, ignoreKey}
	random := rand.New(rand.NewPCG(seed, 0))
	flash := memoryFlash(make([]byte, minSegments*minSegment))
	copies := make([]memoryFlash, 8)
	for i := range copies {
		copies[i] = bytes.Clone(flash)
	}
	for range runs {
		switch random.IntN(4) {
		case 0, 1:
			flash = bytes.Clone(copies[random.IntN(len(copies))])
		case 2:
			copies[random.IntN(len(copies))] = bytes.Clone(flash)
		}
		s, _, err := openWith(flash, recorded.keys(t), Limits{})
		must(t, err)
		must(t, randomRun(s, random))
	}
	return reused
}

// randomRun commits a message, sometimes removes others, and closes the spool.
func randomRun(s *Spool, random *rand.Rand) error {
	content := binary.LittleEndian.AppendUint64(make([]byte, random.IntN(3*pageSize)), random.Uint64())
	var errs []error
	if e, err := s.Create(1, int64(len(content)), []byte("envelope")); err == nil {
		_, err = e.Write(content)
		_, commitErr := e.Commit(context.Background())
		errs = append(errs, err, commitErr)
	} else if !errors.Is(err, ErrFull) {
		errs = append(errs, err)
	}
	for m := range s.Messages() {
		if random.IntN(2) == 0 {
			errs = append(errs, s.Remove(m.ID))
		}
	}
	return errors.Join(append(errs, s.Close())...)
}

func TestSpool_ReusesNoNonceAfterOldFlashIsPutBack(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	if n := reusedNoncesOfCopies(t, seed, copiedRuns, false); n > 0 {
		t.Errorf("got %d reused nonces in %d runs", n, copiedRuns)
	}
	if reusedNoncesOfCopies(t, seed, 100, true) == 0 {
		t.Error("reuse under one key for all runs not detected")
	}
}
