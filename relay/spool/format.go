package spool

import (
	"bytes"
	"crypto/cipher"
	"crypto/hmac"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// FORMAT.md describes the layout.
const (
	pageSize      = 4096
	headerCopy    = 2048 // offset of the header's second copy in its page
	headerSize    = 84
	checksumAt    = 64 // in a header
	macAt         = 68 // in a header, from format version 2
	macSize       = 16
	saltSize      = 16
	formatVersion = 2
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

// geometry is the layout derived from the region's size.
type geometry struct {
	segment   int64 // bytes
	count     int
	batchSize int64 // bytes of uncommitted content after which a group is written
	piece     int   // maximum bytes of content in one piece
}

func geometryOf(size int64) (geometry, error) {
	segment := int64(minSegment)
	for segment < maxSegment && segment*32 <= size {
		segment *= 2
	}
	g := geometry{
		segment:   segment,
		count:     int(size / segment),
		batchSize: segment / 2,
		piece:     int(min(maxPiece, segment/16)),
	}
	if g.count < minSegments {
		return g, fmt.Errorf("the spool needs at least %d bytes, but its region has %d: increase [spool] size", minSegments*minSegment, size)
	}
	return g, nil
}

// run is a sequence of frames under one epoch, which a header starts.
type run struct {
	at    int64 // of its header
	epoch uint64
	suite cipherSuite
	next  ID     // the next free message ID when the run began
	salt  []byte // derives the run's key; nil in format version 1
	aead  cipher.AEAD
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
	b = append(b, r.salt...)
	mac := k.mac(b[start:])
	b = append(append(b, 0, 0, 0, 0), mac...)
	binary.LittleEndian.PutUint32(b[start+checksumAt:], headerChecksum(b[start:]))
	return b
}

func headerVersion(header []byte) uint16 { return binary.LittleEndian.Uint16(header[8:]) }

// headerChecksum returns the checksum that a header of headerSize bytes must have.
func headerChecksum(header []byte) uint32 {
	sum := crc32.Checksum(header[:checksumAt], castagnoli)
	if headerVersion(header) == 1 {
		return sum
	}
	return crc32.Update(sum, castagnoli, header[macAt:headerSize])
}

// isHeader reports whether b begins with an intact header, under any key.
func isHeader(b []byte) bool {
	return len(b) >= headerSize && bytes.HasPrefix(b, headerMagic) && binary.LittleEndian.Uint32(b[checksumAt:]) == headerChecksum(b)
}

// headerPage returns a page with two copies of the header.
func (k *keys) headerPage(g geometry, r run) []byte {
	page := make([]byte, pageSize)
	header := k.appendHeader(nil, g, r)
	copy(page, header)
	copy(page[headerCopy:], header)
	return page
}

// readHeader returns the newest valid copy of the header in the page at at.
func (k *keys) readHeader(page []byte, g geometry, at int64) (run, error) {
	if !bytes.HasPrefix(page, headerMagic) && !bytes.HasPrefix(page[headerCopy:], headerMagic) {
		return run{}, errHeader
	}
	r, err := k.parseHeader(page, g, at)
	second, err2 := k.parseHeader(page[headerCopy:], g, at)
	switch {
	case err2 == nil && (err != nil || second.epoch > r.epoch):
		r, err = second, nil
	case err != nil && !errors.Is(err2, errHeader):
		err = err2
	}
	if err != nil {
		return run{}, err
	}
	r.aead, err = k.aead(r.suite, r.salt)
	return r, err
}

// parseHeader decodes one copy of a header, without the run's AEAD.
func (k *keys) parseHeader(b []byte, g geometry, at int64) (run, error) {
	if !isHeader(b) {
		return run{}, errHeader
	}
	var salt []byte
	authenticated, mac := b[:checksumAt], b[macAt:headerSize]
	switch v := headerVersion(b); v {
	case 1:
		authenticated, mac = b[:checksumAt-macSize], b[checksumAt-macSize:checksumAt]
	case formatVersion:
		salt = bytes.Clone(b[checksumAt-saltSize : checksumAt])
	default:
		return run{}, fmt.Errorf("%w: format version %d, this program supports %d: use the program that wrote it", ErrForeign, v, formatVersion)
	}
	r := run{
		at:    int64(binary.LittleEndian.Uint64(b[24:])),
		epoch: binary.LittleEndian.Uint64(b[32:]),
		suite: cipherSuite(b[10]),
		next:  ID(binary.LittleEndian.Uint64(b[40:])),
		salt:  salt,
	}
	switch {
	case !hmac.Equal(mac, k.mac(authenticated)):
		return run{}, ErrKey
	case int64(binary.LittleEndian.Uint32(b[12:])) != g.segment || int(binary.LittleEndian.Uint64(b[16:])) != g.count:
		return run{}, fmt.Errorf("%w: it was created for a region of another size: restore the old size", ErrForeign)
	case r.at != at || k.ciphers[r.suite] == nil:
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

// record is an entry of a manifest.
type record struct {
	kind     kind
	id       ID
	client   uint64
	size     int64  // end: bytes of content
	index    uint32 // piece: its number; end: the number of pieces
	envelope uint32 // end: bytes of the envelope
	data     []byte // plaintext of a piece, note or memo
	length   uint32 // bytes of a piece's plaintext, or of a note to be moved
	moved    bool   // rewritten to free its segment; not stored on flash
}

func (r *record) appendTo(b []byte) []byte {
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

// recordSize is the size of each record's fixed part in bytes, including the kind.
var recordSize = map[kind]int{pieceRecord: 17, endRecord: 33, noteRecord: 11, removedRecord: 9, memoRecord: 3}

// manifestSize returns the record's size in a manifest.
func (r *record) manifestSize() int {
	n := recordSize[r.kind]
	if r.kind == noteRecord || r.kind == memoRecord {
		n += len(r.data)
	}
	return n
}

// frameSize returns the record's size in a frame, without padding.
func (r *record) frameSize() int {
	n := 2 * r.manifestSize()
	if r.kind == pieceRecord {
		n += int(r.length) + tagSize
	}
	return n
}

var errManifest = errors.New("invalid manifest")

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
