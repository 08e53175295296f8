package spool

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"maps"
	"testing"

	"sealpost/hal"
	"sealpost/hal/simflash"
)

// These tests check that the crash tests would find faults: each breaks one rule
// of FORMAT.md, which the same model and the same crashes must detect.

func TestCrashTests_DetectADroppedFlush(t *testing.T) {
	detected := 0
	total := countCalls(t, smallMessages, noPreparation)
	for call := 3; call <= total; call++ {
		flash, w := simflash.New(testRing, uint64(call)), newModel()
		flash.At(call, simflash.Lost)
		flash.At(call+1, simflash.Cut)
		_ = runUntilError(flash, w, smallMessages)
		for after := range flash.PowerCut(50) {
			if checkAfterCrash(after, w.clone()) != nil {
				detected++
				break
			}
		}
	}
	if detected < 5 {
		t.Errorf("detected %d times in %d calls", detected, total)
	}
}

// unauthenticated decrypts AES-256-GCM without checking the tag.
type unauthenticated struct {
	cipher.AEAD
	block cipher.Block
}

func (b unauthenticated) Open(dst, nonce, sealed, _ []byte) ([]byte, error) {
	if len(sealed) < tagSize {
		return nil, errAuthentication
	}
	plain := sealed[:len(sealed)-tagSize]
	counter := append(append([]byte{}, nonce...), 0, 0, 0, 2)
	at := len(dst)
	dst = append(dst, plain...)
	cipher.NewCTR(b.block, counter).XORKeyStream(dst[at:], dst[at:])
	return dst, nil
}

// unauthenticatedKeys replaces the ciphers in newKeys' table, so that the
// production code needs no switch.
func unauthenticatedKeys(t *testing.T) *keys {
	k, err := newKeys(testKey)
	must(t, err)
	content, err := hkdf.Key(sha256.New, testKey, nil, "sealpost spool content", KeySize)
	must(t, err)
	block, err := aes.NewCipher(content)
	must(t, err)
	k.aeads[aes256GCM] = unauthenticated{k.aeads[aes256GCM], block}
	k.aeads[chaCha20Poly1305] = k.aeads[aes256GCM]
	return k
}

func TestCrashTests_DetectSkippedAuthentication(t *testing.T) {
	unchecked := func(flash hal.Flash, w *model) error {
		s, _, err := openWith(flash, unauthenticatedKeys(t), Limits{})
		if err != nil {
			return err
		}
		return errors.Join(w.check(s, ""), s.Close())
	}
	detected := 0
	total := countCalls(t, smallMessages, noPreparation)
	for call := 4; call <= total; call++ {
		flash, w := simflash.New(testRing, uint64(call)), newModel()
		flash.At(call, simflash.Cut)
		s, _, err := openWith(flash, unauthenticatedKeys(t), Limits{})
		must(t, err)
		_ = smallMessages(w, s)
		_ = s.Close()
		for after := range flash.PowerCut(50) {
			if unchecked(after, w.clone()) != nil {
				detected++
				break
			}
		}
	}
	if detected < 3 {
		t.Errorf("detected %d times in %d calls", detected, total)
	}
}

func TestCrashTests_DetectAReusedEpoch(t *testing.T) {
	flash, w := simflash.New(testRing, 1), newModel()
	must(t, runUntilError(flash, w, smallMessages))
	s, _, err := Open(flash, testKey, Limits{})
	must(t, err)
	must(t, w.adopt(s))
	// The highest epoch is in the prepared header of the next segment, the one below
	// in the previous run. The writer is still waiting for its first wake.
	s.tail.epoch -= 2
	must(t, errors.Join(smallMessages(w, s), s.Close()))
	if checkAfterCrash(flash, w) == nil {
		t.Error("reused epoch not detected")
	}
}

// nonceRecorder records what is sealed under which nonce.
type nonceRecorder struct {
	cipher.AEAD
	seen  map[string][sha256.Size]byte
	twice *int
}

func (s nonceRecorder) Seal(dst, nonce, plain, data []byte) []byte {
	sum := sha256.Sum256(append(append([]byte{}, plain...), data...))
	if before, known := s.seen[string(nonce)]; known && before != sum {
		*s.twice++
	}
	s.seen[string(nonce)] = sum
	return s.AEAD.Seal(dst, nonce, plain, data)
}

func nonceRecordingKeys(t *testing.T, seen map[string][sha256.Size]byte, twice *int) *keys {
	k, err := newKeys(testKey)
	must(t, err)
	for suite, aead := range k.aeads {
		k.aeads[suite] = nonceRecorder{aead, cloned(seen), twice}
	}
	return k
}

func cloned(seen map[string][sha256.Size]byte) map[string][sha256.Size]byte {
	c := map[string][sha256.Size]byte{}
	maps.Copy(c, seen)
	return c
}

// reusedNonces opens the ring three times: it crashes at a call of the first
// run and soon after the start of the second. It counts nonces that sealed two
// different plaintexts in any history.
func reusedNonces(t *testing.T, run workload, call, limit int, between func(*Spool)) (twice int) {
	live := func(flash *simflash.Flash, seen map[string][sha256.Size]byte, run workload) map[string][sha256.Size]byte {
		k := nonceRecordingKeys(t, seen, &twice)
		if s, _, err := openWith(flash, k, Limits{}); err == nil {
			between(s)
			_ = run(newModel(), s)
			_ = s.Close()
		}
		return k.aeads[fastest()].(nonceRecorder).seen
	}
	one := func(w *model, s *Spool) error {
		_, err := w.commit(s, 1, 1234+len(s.index.messages))
		return err
	}
	flash := simflash.New(testRing, uint64(call))
	flash.At(call, simflash.Cut)
	first := live(flash, nil, run)
	for after := range flash.PowerCut(limit) {
		after.At(2+call%4, simflash.Cut)
		second := live(after, first, one)
		for again := range after.PowerCut(limit) {
			live(again, second, one)
		}
	}
	return twice
}

func TestSpool_ReusesNoNonceAfterAPowerCut(t *testing.T) {
	reused := 0
	total := countCalls(t, smallMessages, noPreparation)
	for call := 1; call <= total; call += cutStep {
		if n := reusedNonces(t, smallMessages, call, 8, func(*Spool) {}); n > 0 {
			t.Errorf("small messages, cut at call %d: got %d reused nonces", call, n)
		}
		reused += reusedNonces(t, smallMessages, call, 2, func(s *Spool) { s.tail.epoch -= min(s.tail.epoch, 2) })
	}
	for call := 1; call <= countCalls(t, largeMessages, noPreparation); call += cutStep {
		if n := reusedNonces(t, largeMessages, call, 4, func(*Spool) {}); n > 0 {
			t.Errorf("large messages, cut at call %d: got %d reused nonces", call, n)
		}
	}
	if reused == 0 {
		t.Error("reused epoch not detected")
	}
}
