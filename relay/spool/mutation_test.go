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

// A suite that finds nothing proves something only if it would find what is
// there to find. Each of these breaks one rule of FORMAT.md; the same model and
// the same crashes as everywhere else must notice.

func TestTheSuiteNoticesADroppedFlush(t *testing.T) {
	noticed := 0
	total := calls(t, letters, nothing)
	for call := 3; call <= total; call++ {
		flash, w := simflash.New(testRing, uint64(call)), newWorld()
		flash.At(call, simflash.Lost)
		flash.At(call+1, simflash.Cut)
		_ = disturbed(flash, w, letters)
		for after := range flash.PowerCut(50) {
			if recovered(after, w.clone()) != nil {
				noticed++
				break
			}
		}
	}
	if noticed < 5 {
		t.Errorf("noticed only %d times in %d calls", noticed, total)
	}
}

// blind deciphers AES-256-GCM without asking whether the tag is right.
type blind struct {
	cipher.AEAD
	block cipher.Block
}

func (b blind) Open(dst, nonce, sealed, _ []byte) ([]byte, error) {
	if len(sealed) < tagSize {
		return nil, errSeal
	}
	plain := sealed[:len(sealed)-tagSize]
	counter := append(append([]byte{}, nonce...), 0, 0, 0, 2)
	at := len(dst)
	dst = append(dst, plain...)
	cipher.NewCTR(b.block, counter).XORKeyStream(dst[at:], dst[at:])
	return dst, nil
}

// blindKeys swaps the ciphers in the table where newKeys puts them. The table
// is there for the two real ones, so production has no switch to turn.
func blindKeys(t *testing.T) *keys {
	k, err := newKeys(testKey)
	must(t, err)
	content, err := hkdf.Key(sha256.New, testKey, nil, "sealpost spool content", KeySize)
	must(t, err)
	block, err := aes.NewCipher(content)
	must(t, err)
	k.aeads[aes256GCM] = blind{k.aeads[aes256GCM], block}
	k.aeads[chaCha20Poly1305] = k.aeads[aes256GCM]
	return k
}

func TestTheSuiteNoticesASkippedChecksum(t *testing.T) {
	unchecked := func(flash hal.Flash, w *world) error {
		s, _, err := openWith(flash, blindKeys(t), Limits{})
		if err != nil {
			return err
		}
		return errors.Join(w.check(s, ""), s.Close())
	}
	noticed := 0
	total := calls(t, letters, nothing)
	for call := 4; call <= total; call++ {
		flash, w := simflash.New(testRing, uint64(call)), newWorld()
		flash.At(call, simflash.Cut)
		s, _, err := openWith(flash, blindKeys(t), Limits{})
		must(t, err)
		_ = letters(w, s)
		_ = s.Close()
		for after := range flash.PowerCut(50) {
			if unchecked(after, w.clone()) != nil {
				noticed++
				break
			}
		}
	}
	if noticed < 3 {
		t.Errorf("noticed only %d times in %d calls", noticed, total)
	}
}

func TestTheSuiteNoticesAReusedEpoch(t *testing.T) {
	flash, w := simflash.New(testRing, 1), newWorld()
	must(t, disturbed(flash, w, letters))
	s, _, err := Open(flash, testKey, Limits{})
	must(t, err)
	must(t, w.adopt(s))
	// The highest epoch lies prepared in the next segment; the one below is
	// that of the run just left. The writer waits for its first wake.
	s.tail.epoch -= 2
	must(t, errors.Join(letters(w, s), s.Close()))
	if recovered(flash, w) == nil {
		t.Error("a reused epoch went unnoticed")
	}
}

// spy watches what is sealed under which nonce.
type spy struct {
	cipher.AEAD
	seen  map[string][sha256.Size]byte
	twice *int
}

func (s spy) Seal(dst, nonce, plain, data []byte) []byte {
	sum := sha256.Sum256(append(append([]byte{}, plain...), data...))
	if before, known := s.seen[string(nonce)]; known && before != sum {
		*s.twice++
	}
	s.seen[string(nonce)] = sum
	return s.AEAD.Seal(dst, nonce, plain, data)
}

func spyKeys(t *testing.T, seen map[string][sha256.Size]byte, twice *int) *keys {
	k, err := newKeys(testKey)
	must(t, err)
	for suite, aead := range k.aeads {
		k.aeads[suite] = spy{aead, cloned(seen), twice}
	}
	return k
}

func cloned(seen map[string][sha256.Size]byte) map[string][sha256.Size]byte {
	c := map[string][sha256.Size]byte{}
	maps.Copy(c, seen)
	return c
}

// noncesAcross lives three times: it crashes at a call of the first life, soon
// after the start of the second, and counts nonces that sealed two different
// things in any line of lives.
func noncesAcross(t *testing.T, run script, call, limit int, between func(*Spool)) (twice int) {
	live := func(flash *simflash.Flash, seen map[string][sha256.Size]byte, run script) map[string][sha256.Size]byte {
		k := spyKeys(t, seen, &twice)
		if s, _, err := openWith(flash, k, Limits{}); err == nil {
			between(s)
			_ = run(newWorld(), s)
			_ = s.Close()
		}
		return k.aeads[fastest()].(spy).seen
	}
	one := func(w *world, s *Spool) error {
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

func TestNoNonceSealsTwoThingsWhereverThePowerIsCut(t *testing.T) {
	reused := 0
	total := calls(t, letters, nothing)
	for call := 1; call <= total; call++ {
		if n := noncesAcross(t, letters, call, 8, func(*Spool) {}); n > 0 {
			t.Errorf("letters cut at call %d: %d nonces came twice", call, n)
		}
		reused += noncesAcross(t, letters, call, 2, func(s *Spool) { s.tail.epoch -= min(s.tail.epoch, 2) })
	}
	for call := 1; call <= calls(t, scans, nothing); call++ {
		if n := noncesAcross(t, scans, call, 4, func(*Spool) {}); n > 0 {
			t.Errorf("scans cut at call %d: %d nonces came twice", call, n)
		}
	}
	if reused == 0 {
		t.Error("an epoch used twice went unnoticed")
	}
}
