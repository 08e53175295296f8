package spool

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"

	"sealpost/hal/simflash"
)

func FuzzParseManifest(f *testing.F) {
	var all []byte
	for _, r := range []record{
		{kind: pieceRecord, id: 7, index: 1, length: 300},
		{kind: endRecord, id: 7, client: 3, size: 280, index: 2, envelope: 20},
		{kind: noteRecord, id: 7, data: []byte("try at noon")},
		{kind: removedRecord, id: 6},
		{kind: memoRecord, data: []byte("42 today")},
	} {
		encoded := r.appendTo(nil)
		all = append(all, encoded...)
		f.Add(encoded)
	}
	f.Add(all)
	f.Add(all[:len(all)-1])
	f.Fuzz(func(t *testing.T, b []byte) {
		records, err := parseManifest(b)
		if err != nil {
			return
		}
		var encoded []byte
		size := 0
		for i := range records {
			encoded = records[i].appendTo(encoded)
			size += records[i].manifestSize()
		}
		if !bytes.Equal(encoded, b) || size != len(b) {
			t.Errorf("%x: got re-encoded as %x, size %d", b, encoded, size)
		}
	})
}

// The parts of a header that FuzzParseHeader makes valid.
const (
	fixNothing = iota
	fixChecksum
	fixAll
	fixKinds
)

func FuzzParseHeader(f *testing.F) {
	k, err := newKeys(testKey)
	must(f, err)
	g, err := geometryOf(testRing)
	must(f, err)
	header := k.appendHeader(nil, g, run{at: g.segment, epoch: 12, suite: aes256GCM, next: 40, salt: make([]byte, saltSize)})
	for fix := range byte(fixKinds) {
		f.Add(header, fix, g.segment)
		f.Add(header, fix, int64(0))
		f.Add(header[:headerSize-1], fix, g.segment)
		f.Add(version1Header(k, header), fix, g.segment)
	}
	f.Fuzz(func(t *testing.T, b []byte, fix byte, at int64) {
		b = bytes.Clone(b)
		if len(b) >= headerSize {
			if fix%fixKinds == fixAll {
				copy(b[macAt:], k.mac(b[:checksumAt]))
			}
			if fix%fixKinds >= fixChecksum {
				binary.LittleEndian.PutUint32(b[checksumAt:], headerChecksum(b))
			}
		}
		r, err := k.parseHeader(b, g, at)
		if err != nil {
			if !errors.Is(err, errHeader) && !errors.Is(err, ErrKey) && !errors.Is(err, ErrForeign) {
				t.Error(err)
			}
			return
		}
		b[11] = 0 // reserved
		written := k.appendHeader(nil, g, r)
		if headerVersion(b) == 1 {
			written = version1Header(k, written)
		}
		if r.at != at || !bytes.Equal(written[:checksumAt-macSize], b[:checksumAt-macSize]) {
			t.Errorf("%x at %d: got %+v", b, at, r)
		}
	})
}

// version1Header returns a header in format version 1.
func version1Header(k *keys, header []byte) []byte {
	b := append(bytes.Clone(header[:checksumAt-macSize]), make([]byte, headerSize-checksumAt+macSize)...)
	binary.LittleEndian.PutUint16(b[8:], 1)
	copy(b[checksumAt-macSize:], k.mac(b[:checksumAt-macSize]))
	binary.LittleEndian.PutUint32(b[checksumAt:], headerChecksum(b))
	return b
}

// frameOf returns a frame of that many pages with any manifest, sealed with the
// right key.
func frameOf(r run, at int64, counter uint32, manifest []byte, pages int) []byte {
	prefix := append([]byte{}, frameMagic...)
	prefix = binary.LittleEndian.AppendUint32(prefix, uint32(pages))
	prefix = binary.LittleEndian.AppendUint64(prefix, r.epoch)
	prefix = binary.LittleEndian.AppendUint32(prefix, counter)
	prefix = binary.LittleEndian.AppendUint32(prefix, uint32(len(manifest)+tagSize))
	sealed := r.aead.Seal(nil, nonce(r.epoch, counter), manifest, manifestAAD(at, prefix))
	b := make([]byte, pages*pageSize)
	copy(b, prefix)
	copy(b[prefixSize:], sealed)
	copy(b[len(b)-prefixSize:], prefix)
	copy(b[len(b)-prefixSize-len(sealed):], sealed)
	return b
}

func FuzzOpenManifest(f *testing.F) {
	k, err := newKeys(testKey)
	must(f, err)
	r := run{epoch: 3, suite: aes256GCM, next: 9}
	r.aead, err = k.aead(r.suite, nil)
	must(f, err)
	piece := record{kind: pieceRecord, id: 9, length: 4000}
	end := record{kind: endRecord, id: 9, client: 1, size: 3990, index: 1, envelope: 10}
	f.Add(end.appendTo(piece.appendTo(nil)), byte(2), uint32(0), byte(0))
	f.Add(end.appendTo(piece.appendTo(nil)), byte(2), uint32(30), byte(1))
	f.Add(end.appendTo(piece.appendTo(nil)), byte(1), uint32(2*pageSize-1), byte(128))
	f.Add([]byte("no manifest at all"), byte(1), uint32(4), byte(3))
	f.Fuzz(func(t *testing.T, manifest []byte, pages byte, offset uint32, flip byte) {
		size := max(1, int(pages)) * pageSize
		if 2*(prefixSize+len(manifest)+tagSize) > size {
			return
		}
		// The frame has one page before and one after it.
		const base = 1 << 20
		sealed := frameOf(r, base+pageSize, 5, manifest, size/pageSize)
		segment := append(append(make([]byte, pageSize), sealed...), make([]byte, pageSize)...)
		segment[pageSize+int(offset)%size] ^= flip
		got, ok := k.readFrame(segment, base, pageSize, r)
		want, err := parseManifest(manifest)
		if !ok {
			if fits := (&frame{at: base, size: size, manifest: len(manifest) + tagSize, records: want}).locatePieces(); err == nil && fits {
				t.Fatalf("one corrupt byte lost %d records", len(want))
			}
			return
		}
		var records []byte
		next := got.at + prefixSize + int64(got.manifest)
		for i := range got.records {
			records = got.records[i].appendTo(records)
			if piece := got.pieces[i]; got.records[i].kind == pieceRecord {
				if piece.at != next || piece.length != got.records[i].length {
					t.Errorf("record %d: got location %+v", i, piece)
				}
				next += int64(piece.sealed())
			}
		}
		if !bytes.Equal(records, manifest) || got.at != base+pageSize || got.size != size || next > got.at+int64(got.size) {
			t.Errorf("%x: got %x, %+v", manifest, records, got)
		}
	})
}

// corrupt modifies a ring by a script: each step has a kind, an offset, and
// arguments.
func corrupt(ring memoryFlash, used int, script []byte) {
	place := func() int {
		at := int(script[0])<<16 | int(script[1])<<8 | int(script[2])
		script = script[3:]
		return at % used
	}
	for len(script) >= 7 {
		kind := script[0]
		script = script[1:]
		at := place()
		switch kind % 4 {
		case 0:
			ring[at] ^= 1 << (script[0] % 8)
			script = script[1:]
		case 1: // a page written to the wrong place
			copy(ring[at&^(pageSize-1):][:pageSize], ring[place()&^(pageSize-1):])
		case 2:
			clear(ring[at&^(sectorSize-1):][:sectorSize])
		case 3:
			n := min(len(script)-1, int(script[0]))
			copy(ring[at:], script[1:1+n])
			script = script[1+n:]
		}
	}
}

func FuzzRing(f *testing.F) {
	flash, w := simflash.New(testRing, 1), newModel()
	must(f, runUntilError(flash, w, smallMessages))
	must(f, runUntilError(flash, w, smallMessages))
	whole, ring := make(memoryFlash, testRing), make(memoryFlash, testRing)
	_, err := io.ReadFull(io.NewSectionReader(flash, 0, testRing), whole)
	must(f, err)
	used := minSegment + pageSize
	f.Add([]byte{0, 0, 16, 40, 1, 0, 0, 48, 10, 2})
	f.Add([]byte{1, 0, 16, 0, 0, 64, 0, 0, 0, 0, 0})
	f.Add([]byte{2, 0, 32, 0, 2, 1, 0, 0, 0, 0, 0})
	f.Add([]byte("\x03\x00\x80\x00\x04SPF1\x03\x00\x90\x00\x08SEALRING"))
	f.Fuzz(func(t *testing.T, script []byte) {
		copy(ring, whole)
		corrupt(ring, used, script)
		s, _, err := Open(ring, testKey, Limits{})
		if err != nil {
			if !errors.Is(err, ErrKey) && !errors.Is(err, ErrForeign) {
				t.Error(err)
			}
			return
		}
		for m := range s.Messages() {
			envelope, err := s.Envelope(m.ID)
			body, err2 := readAll(s, m.ID)
			want, offered := w.offered[string(envelope)]
			if err == nil && err2 == nil && (!offered || !bytes.Equal(body, want)) {
				t.Errorf("message %d differs from what was written", m.ID)
			}
		}
		must(t, s.Close())
	})
}
