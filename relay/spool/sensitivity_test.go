package spool

import (
	"crypto/aes"
	"crypto/cipher"
	"errors"
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
		t.Errorf("detected after %d of %d calls, want at least 5", detected, total)
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
	for suite := range k.ciphers {
		k.ciphers[suite] = func(key []byte) (cipher.AEAD, error) {
			aead, err := ciphers[aes256GCM](key)
			must(t, err)
			block, err := aes.NewCipher(key)
			must(t, err)
			return unauthenticated{aead, block}, nil
		}
	}
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
		t.Errorf("detected after %d of %d calls, want at least 3", detected, total)
	}
}

func TestCrashTests_DetectAReusedEpoch(t *testing.T) {
	flash, w := simflash.New(testRing, 1), newModel()
	must(t, runUntilError(flash, w, smallMessages))
	s, _, err := Open(flash, testKey, Limits{})
	must(t, err)
	must(t, w.adopt(s))
	// The highest epoch is in the prepared header of the next segment, the one below
	// in the previous run. The writer has not written yet.
	s.tail.epoch -= 2
	must(t, errors.Join(smallMessages(w, s), s.Close()))
	if checkAfterCrash(flash, w) == nil {
		t.Error("reused epoch not detected")
	}
}
