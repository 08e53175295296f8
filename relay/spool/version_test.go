package spool

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
)

// ringOfVersion1 returns a ring in format version 1 with one message.
func ringOfVersion1(t *testing.T, content string) memoryFlash {
	t.Helper()
	k, err := newKeys(testKey)
	must(t, err)
	g, err := geometryOf(testRing)
	must(t, err)
	r := run{epoch: 1, suite: chaCha20Poly1305, next: 1, salt: make([]byte, saltSize)}
	header := version1Header(k, k.appendHeader(nil, g, r))
	r.salt = nil
	r.aead, err = k.aead(r.suite, nil)
	must(t, err)
	frame, _ := k.appendFrame(nil, r, pageSize, 0, []record{
		{kind: pieceRecord, id: 1, length: uint32(len(content)), data: []byte(content)},
		{kind: endRecord, id: 1, client: 1, size: int64(len(content)), index: 1},
	})
	flash := make(memoryFlash, testRing)
	copy(flash, header)
	copy(flash[headerCopy:], header)
	copy(flash[pageSize:], frame)
	return flash
}

func TestOpen_ContinuesARingOfFormatVersion1(t *testing.T) {
	flash := ringOfVersion1(t, "written by an older program")
	w := newModel()
	for range 3 {
		s, recovery := mustOpen(t, flash, Limits{})
		if len(recovery.Damaged) != 0 {
			t.Errorf("got damaged messages %v, want none", recovery.Damaged)
		}
		got, err := readAll(s, 1)
		if err != nil || string(got) != "written by an older program" {
			t.Errorf("got %q, %v, want the content", got, err)
		}
		_, err = w.commit(s, 2, 5000)
		must(t, errors.Join(err, s.Close()))
	}
	header := flash[2*pageSize:]
	if !isHeader(header) || headerVersion(header) != formatVersion {
		t.Errorf("the second run: got header %x, want version %d", header[:headerSize], formatVersion)
	}
}

// The runs behind it may hold mail that this program would overwrite. Where no segment
// is free, only the one that an older program ended in has such a header.
func TestOpen_RefusesARingWithOneHeaderOfANewerVersion(t *testing.T) {
	for _, at := range []int{2 * minSegment, 3 * pageSize, 9 * pageSize} {
		flash := make(memoryFlash, testRing)
		s, _ := mustOpen(t, flash, Limits{})
		_, err := newModel().commit(s, 1, 5000)
		must(t, errors.Join(err, s.Close()))
		newer := bytes.Clone(flash[:headerSize])
		binary.LittleEndian.PutUint16(newer[8:], formatVersion+1)
		binary.LittleEndian.PutUint32(newer[checksumAt:], headerChecksum(newer))
		copy(flash[at:], newer)
		before := bytes.Clone(flash)
		if _, _, err := Open(flash, testKey, Limits{}); !errors.Is(err, ErrForeign) {
			t.Errorf("a header at %d: got %v, want ErrForeign", at, err)
		}
		if !bytes.Equal(flash, before) {
			t.Errorf("a header at %d: Open changed the ring", at)
		}
	}
}
