package spool

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// ref locates a piece. The zero ref means that the piece was not found yet.
type ref struct {
	at      int64
	length  uint32 // bytes of plaintext
	counter uint32
}

func (r ref) sealed() int { return int(r.length) + tagSize }

// frame is one write, which becomes durable as a whole.
type frame struct {
	at       int64
	size     int // bytes, a multiple of a page
	counter  uint32
	run      run
	records  []record
	pieces   []ref // one for each record; zero if it is not a piece
	oneCopy  bool  // the other copy of the manifest is damaged
	manifest int   // bytes of the sealed manifest
}

func roundUp(n int) int { return (n + pageSize - 1) &^ (pageSize - 1) }

// frameOverhead is the size of a frame without records and padding.
const frameOverhead = 2 * (prefixSize + tagSize)

// appendFrame seals records into b and returns where the pieces lie.
func (k *keys) appendFrame(b []byte, r run, at int64, counter uint32, records []record) ([]byte, []ref) {
	var manifest []byte
	size := frameOverhead
	for i := range records {
		manifest = records[i].appendTo(manifest)
		size += records[i].frameSize()
	}
	size = roundUp(size)
	prefix := append(make([]byte, 0, prefixSize), frameMagic...)
	prefix = binary.LittleEndian.AppendUint32(prefix, uint32(size/pageSize))
	prefix = binary.LittleEndian.AppendUint64(prefix, r.epoch)
	prefix = binary.LittleEndian.AppendUint32(prefix, counter)
	prefix = binary.LittleEndian.AppendUint32(prefix, uint32(len(manifest)+tagSize))
	b = append(slices.Grow(b, size), prefix...)
	b = r.aead.Seal(b, nonce(r.epoch, counter), manifest, manifestAAD(at, prefix))
	refs := make([]ref, len(records))
	for i := range records {
		if p := &records[i]; p.kind == pieceRecord {
			counter++
			refs[i] = ref{at + int64(len(b)), p.length, counter}
			b = r.aead.Seal(b, nonce(r.epoch, counter), p.data, pieceAAD(refs[i].at, p.id, p.index))
		}
	}
	sealed := b[prefixSize : prefixSize+len(manifest)+tagSize]
	b = append(b, make([]byte, size-len(b)-len(sealed)-prefixSize)...)
	return append(append(b, sealed...), prefix...), refs
}

// readFrame reads the frame at off in the segment, by whichever copy of its
// manifest is intact.
func (k *keys) readFrame(segment []byte, base int64, off int, r run) (frame, bool) {
	if f, ok := k.openManifest(segment, base, off, off, r); ok {
		_, second := k.openManifest(segment, base, off, off+f.size-prefixSize, r)
		f.oneCopy = !second
		return f, true
	}
	end := min(len(segment), off+maxFrame)
	for after := off + pageSize; after <= end; after += pageSize {
		if f, ok := k.openManifest(segment, base, off, after-prefixSize, r); ok && f.size == after-off {
			f.oneCopy = true
			return f, true
		}
	}
	return frame{}, false
}

// openManifest reads the manifest copy whose prefix lies at prefixAt: at the
// start of the frame, or at its end, with the manifest before it.
func (k *keys) openManifest(segment []byte, base int64, off, prefixAt int, r run) (frame, bool) {
	prefix := segment[prefixAt : prefixAt+prefixSize]
	f, ok := parsePrefix(prefix, base+int64(off), r)
	start := prefixAt + prefixSize
	if prefixAt != off {
		start = prefixAt - f.manifest
	}
	if !ok || off+f.size > len(segment) || start < off {
		return frame{}, false
	}
	return f, k.unsealManifest(&f, prefix, bytes.Clone(segment[start:start+f.manifest]))
}

// parsePrefix decodes the prefix of a frame at at.
func parsePrefix(prefix []byte, at int64, r run) (frame, bool) {
	if !bytes.HasPrefix(prefix, frameMagic) || binary.LittleEndian.Uint64(prefix[8:]) != r.epoch {
		return frame{}, false
	}
	pages, n := binary.LittleEndian.Uint32(prefix[4:]), binary.LittleEndian.Uint32(prefix[20:])
	if pages == 0 || pages > maxFrame/pageSize || n < tagSize || n > maxFrame {
		return frame{}, false
	}
	f := frame{at: at, size: int(pages) * pageSize, run: r, manifest: int(n), counter: binary.LittleEndian.Uint32(prefix[16:])}
	return f, 2*(prefixSize+f.manifest) <= f.size
}

// unsealManifest decrypts the manifest in place and sets the frame's records.
func (k *keys) unsealManifest(f *frame, prefix, sealed []byte) bool {
	plain, err := f.run.unseal(f.counter, sealed, manifestAAD(f.at, prefix))
	if err != nil {
		return false
	}
	f.records, err = parseManifest(plain)
	return err == nil && f.locatePieces()
}

// locatePieces locates the pieces, which follow the first manifest in order. It
// reports whether they fit the frame.
func (f *frame) locatePieces() bool {
	f.pieces = make([]ref, len(f.records))
	next, counter := f.at+prefixSize+int64(f.manifest), f.counter
	for i := range f.records {
		if f.records[i].kind == pieceRecord {
			counter++
			f.pieces[i] = ref{next, f.records[i].length, counter}
			next += int64(f.pieces[i].sealed())
		}
	}
	return next <= f.at+int64(f.size-prefixSize-f.manifest)
}

// visitor receives the contents of a segment in order.
type visitor struct {
	run     func(r run)
	frame   func(f *frame, segment []byte, last bool)
	damaged func(at, length int64)
}

// scan walks one segment whose first header is r. It returns the end of the
// last frame; anything behind it was never acknowledged.
func (k *keys) scan(segment []byte, g geometry, base int64, r run, v visitor) int {
	v.run(r)
	var pendingFrame *frame
	visitPending := func(last bool) {
		if pendingFrame != nil {
			v.frame(pendingFrame, segment, last)
			pendingFrame = nil
		}
	}
	off := pageSize
	for off < len(segment) {
		if f, ok := k.readFrame(segment, base, off, r); ok {
			visitPending(false)
			pendingFrame = &f
			off += f.size
			continue
		}
		next := k.resync(segment, g, base, off, r)
		if next < 0 {
			break
		}
		if next > off {
			visitPending(false)
			v.damaged(base+int64(off), int64(next-off))
			off = next
		}
		if h, err := k.readHeader(segment[off:off+pageSize], g, base+int64(off)); err == nil && h.epoch > r.epoch {
			visitPending(true)
			r = h
			v.run(r)
			off += pageSize
		}
	}
	visitPending(true)
	return off
}

// resync returns the next page from off where a newer run starts or a frame of
// this run is readable, or -1.
func (k *keys) resync(segment []byte, g geometry, base int64, off int, r run) int {
	for ; off < len(segment); off += pageSize {
		page := segment[off : off+pageSize]
		if h, err := k.readHeader(page, g, base+int64(off)); err == nil && h.epoch > r.epoch {
			return off
		}
		if _, ok := k.openManifest(segment, base, off, off, r); ok {
			return off
		}
	}
	return -1
}
