package spool

import (
	"bytes"
	"crypto/hmac"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// The layout is told in FORMAT.md.
const (
	pageSize      = 4096
	headerCopy    = 2048 // where the second copy of a header lies in its page
	headerSize    = 68
	macSize       = 16
	formatVersion = 1
	prefixSize    = 24
	minSegment    = 256 << 10
	maxSegment    = 4 << 20
	minSegments   = 4
	maxFrame      = maxSegment - pageSize
	maxPiece      = 64 << 10
)

var (
	headerMagic = []byte("SEALRING")
	frameMagic  = []byte("SPF1")
	castagnoli  = crc32.MakeTable(crc32.Castagnoli)
	errHeader   = errors.New("no valid header")
)

// geometry is what follows from the size of the region.
type geometry struct {
	segment int64 // bytes
	count   int
	gather  int64 // bytes of uncommitted content that are written without waiting for more
	piece   int   // the most content in one piece, in bytes
}

func geometryOf(size int64) (geometry, error) {
	segment := int64(minSegment)
	for segment < maxSegment && segment*32 <= size {
		segment *= 2
	}
	g := geometry{
		segment: segment,
		count:   int(size / segment),
		gather:  segment / 2,
		piece:   int(min(maxPiece, segment/16)),
	}
	if g.count < minSegments {
		return g, fmt.Errorf("a spool needs at least %d bytes, and this region has %d: give it more in [spool] size", minSegments*minSegment, size)
	}
	return g, nil
}

// run is a stretch of frames under one epoch; its header starts it.
type run struct {
	at    int64 // of its header
	epoch uint64
	suite cipherSuite
	next  ID // no message had this number, or a higher one, when it began
}

func (k *keys) appendHeader(b []byte, g geometry, r run) []byte {
	start := len(b)
	b = append(b, headerMagic...)
	b = binary.LittleEndian.AppendUint16(b, formatVersion)
	b = append(b, byte(r.suite), 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(g.segment))
	b = binary.LittleEndian.AppendUint64(b, uint64(g.count))
	b = binary.LittleEndian.AppendUint64(b, uint64(r.at))
	b = binary.LittleEndian.AppendUint64(b, r.epoch)
	b = binary.LittleEndian.AppendUint64(b, uint64(r.next))
	b = append(b, k.mac(b[start:])...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

// headerPage is one page with the header in it twice.
func (k *keys) headerPage(g geometry, r run) []byte {
	page := make([]byte, pageSize)
	header := k.appendHeader(nil, g, r)
	copy(page, header)
	copy(page[headerCopy:], header)
	return page
}

// readHeader takes the newest valid copy in a page that lies at at.
func (k *keys) readHeader(page []byte, g geometry, at int64) (run, error) {
	if !bytes.HasPrefix(page, headerMagic) && !bytes.HasPrefix(page[headerCopy:], headerMagic) {
		return run{}, errHeader
	}
	first, err := k.parseHeader(page, g, at)
	second, err2 := k.parseHeader(page[headerCopy:], g, at)
	switch {
	case err2 == nil && (err != nil || second.epoch > first.epoch):
		return second, nil
	case errors.Is(err2, errHeader):
		return first, err
	case err != nil:
		return first, err2
	}
	return first, nil
}

func (k *keys) parseHeader(b []byte, g geometry, at int64) (run, error) {
	if len(b) < headerSize || !bytes.HasPrefix(b, headerMagic) ||
		binary.LittleEndian.Uint32(b[headerSize-4:]) != crc32.Checksum(b[:headerSize-4], castagnoli) {
		return run{}, errHeader
	}
	if v := binary.LittleEndian.Uint16(b[8:]); v != formatVersion {
		return run{}, fmt.Errorf("%w: it has format version %d and this program knows %d: use the program that wrote it", ErrForeign, v, formatVersion)
	}
	r := run{
		at:    int64(binary.LittleEndian.Uint64(b[24:])),
		epoch: binary.LittleEndian.Uint64(b[32:]),
		suite: cipherSuite(b[10]),
		next:  ID(binary.LittleEndian.Uint64(b[40:])),
	}
	macAt := headerSize - 4 - macSize
	switch {
	case !hmac.Equal(b[macAt:macAt+macSize], k.mac(b[:macAt])):
		return run{}, ErrKey
	case int64(binary.LittleEndian.Uint32(b[12:])) != g.segment || int(binary.LittleEndian.Uint64(b[16:])) != g.count:
		return run{}, fmt.Errorf("%w: it was made for a region of another size: give it its old size back", ErrForeign)
	case r.at != at || k.aeads[r.suite] == nil:
		return run{}, errHeader
	}
	return r, nil
}

type kind byte

const (
	pieceRecord kind = 1 + iota
	endRecord
	noteRecord
	removedRecord
	memoRecord
)

// record is one entry of a manifest.
type record struct {
	kind     kind
	id       ID
	client   uint64
	size     int64  // end: bytes of content
	index    uint32 // piece: its number; end: the number of pieces
	envelope uint32 // end: bytes of the envelope
	data     []byte // piece: its plaintext; note and memo: theirs
	length   uint32 // piece: bytes of its plaintext; note to be moved: its bytes
	moved    bool   // written again to free its segment; not on flash
}

func (r *record) append(b []byte) []byte {
	b = append(b, byte(r.kind))
	if r.kind != memoRecord {
		b = binary.LittleEndian.AppendUint64(b, uint64(r.id))
	}
	switch r.kind {
	case pieceRecord:
		b = binary.LittleEndian.AppendUint32(b, r.index)
		b = binary.LittleEndian.AppendUint32(b, r.length)
	case endRecord:
		b = binary.LittleEndian.AppendUint64(b, r.client)
		b = binary.LittleEndian.AppendUint64(b, uint64(r.size))
		b = binary.LittleEndian.AppendUint32(b, r.index)
		b = binary.LittleEndian.AppendUint32(b, r.envelope)
	case noteRecord, memoRecord:
		b = binary.LittleEndian.AppendUint16(b, uint16(len(r.data)))
		b = append(b, r.data...)
	}
	return b
}

// sizes of the fixed part of each record in bytes, with its kind.
var recordSize = map[kind]int{pieceRecord: 17, endRecord: 33, noteRecord: 11, removedRecord: 9, memoRecord: 3}

// manifestSize is what the record takes in a manifest.
func (r *record) manifestSize() int {
	n := recordSize[r.kind]
	if r.kind == noteRecord || r.kind == memoRecord {
		n += len(r.data)
	}
	return n
}

// frameSize is what the record takes in a frame, padding apart.
func (r *record) frameSize() int {
	n := 2 * r.manifestSize()
	if r.kind == pieceRecord {
		n += int(r.length) + tagSize
	}
	return n
}

var errManifest = errors.New("the manifest makes no sense")

func parseManifest(b []byte) ([]record, error) {
	var records []record
	for len(b) > 0 {
		r := record{kind: kind(b[0])}
		n, known := recordSize[r.kind]
		if !known || len(b) < n {
			return nil, errManifest
		}
		fixed := b[1:n]
		b = b[n:]
		if r.kind != memoRecord {
			r.id = ID(binary.LittleEndian.Uint64(fixed))
			fixed = fixed[8:]
		}
		switch r.kind {
		case pieceRecord:
			r.index, r.length = binary.LittleEndian.Uint32(fixed), binary.LittleEndian.Uint32(fixed[4:])
			if r.length > maxPiece {
				return nil, errManifest
			}
		case endRecord:
			r.client, r.size = binary.LittleEndian.Uint64(fixed), int64(binary.LittleEndian.Uint64(fixed[8:]))
			r.index, r.envelope = binary.LittleEndian.Uint32(fixed[16:]), binary.LittleEndian.Uint32(fixed[20:])
		case noteRecord, memoRecord:
			n := int(binary.LittleEndian.Uint16(fixed))
			if n > len(b) {
				return nil, errManifest
			}
			r.data, b = b[:n:n], b[n:]
		}
		records = append(records, r)
	}
	return records, nil
}
