package spool

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Damage is data on flash that differs from what was written.
type Damage struct {
	ID     ID    // the affected message; 0 if unknown
	At     int64 // offset in the region
	Reason string
}

func (d Damage) String() string {
	if d.ID == 0 {
		return fmt.Sprintf("at %d: %s", d.At, d.Reason)
	}
	return fmt.Sprintf("message %d at %d: %s", d.ID, d.At, d.Reason)
}

// Recovery describes what Open found.
type Recovery struct {
	Formatted bool
	Messages  int
	Bytes     int64 // of envelopes and content
	Damaged   []Damage
	Sealed    int // runs begun by earlier starts
	Cipher    string
	Took      time.Duration
}

const (
	reasonHeader     = "the segment's header cannot be read; no data is lost if the power was cut at the start of the segment"
	reasonUnreadable = "frames cannot be read"
	reasonOneCopy    = "one of two copies of a manifest cannot be read; no data is lost"
	reasonTorn       = "the last frame of a run is torn; it was never acknowledged unless the flash is damaged"
	reasonIncomplete = "parts of the message cannot be found"
)

// replay is the state of a recovery.
type replay struct {
	spool        *Spool
	recovery     Recovery
	lastSegment  int   // the newest segment with a frame
	lastEnd      int64 // end of the last frame in it
	epoch        uint64
	epochSegment int         // the segment with the highest epoch
	epochEnd     int64       // end of its last frame or header
	torn         map[ID]bool // messages with a piece in a torn frame
}

func (s *Spool) recover() (Recovery, error) {
	began := time.Now()
	// Flush what an earlier process wrote, so that everything read below is
	// durable.
	if err := s.flush(); err != nil {
		return Recovery{}, err
	}
	p := &replay{spool: s, lastSegment: -1, torn: map[ID]bool{}}
	first, err := p.headers()
	if err != nil {
		return p.recovery, err
	}
	if len(first) == 0 {
		p.recovery.Formatted = true
		p.recovery.Took = time.Since(began)
		p.recovery.Cipher = fastest().String()
		s.used = 1
		return p.recovery, s.beginRun()
	}
	segment := make([]byte, s.geometry.segment)
	for _, r := range first {
		if err := p.segment(segment, r); err != nil {
			return p.recovery, err
		}
	}
	p.finish(first)
	p.recovery.Cipher = first[len(first)-1].suite.String()
	p.recovery.Took = time.Since(began)
	return p.recovery, nil
}

// headers reads the first header of each segment, oldest first.
func (p *replay) headers() ([]run, error) {
	s := p.spool
	var found []run
	var headerErr error
	page := make([]byte, pageSize)
	for i := range s.geometry.count {
		at := int64(i) * s.geometry.segment
		p.read(page, at)
		r, err := s.keys.readHeader(page, s.geometry, at)
		switch {
		case err == nil:
			found = append(found, r)
		case errors.Is(err, ErrForeign):
			// A newer program may have queued mail in other segments.
			return nil, err
		case !errors.Is(err, errHeader):
			headerErr = err
		case !isZero(page):
			p.report(Damage{At: at, Reason: reasonHeader})
		}
	}
	slices.SortFunc(found, func(a, b run) int { return cmp.Compare(a.epoch, b.epoch) })
	if len(found) > 0 {
		return found, nil
	}
	if headerErr != nil {
		return nil, headerErr
	}
	return nil, p.checkBlank()
}

// checkBlank accepts a region of zeros, except for the first page, which an
// interrupted format may have written.
func (p *replay) checkBlank() error {
	s := p.spool
	p.recovery.Damaged = nil
	b := make([]byte, minSegment)
	for at := int64(pageSize); at < s.flash.Size(); at += int64(len(b)) {
		b = b[:min(int64(len(b)), s.flash.Size()-at)]
		if _, err := s.flash.ReadAt(b, at); err != nil {
			return fmt.Errorf("reading the spool's region at %d: %w", at, err)
		}
		if !isZero(b) {
			return ErrForeign
		}
	}
	return nil
}

func isZero(b []byte) bool {
	return len(b) == 0 || b[0] == 0 && bytes.Equal(b[1:], b[:len(b)-1])
}

func (p *replay) report(d Damage) { p.recovery.Damaged = append(p.recovery.Damaged, d) }

// sectorSize is the unit of a read error, in bytes.
const sectorSize = 512

// read fills b. Unreadable sectors are reported and left zero, so that a bad
// sector affects only the data in it.
func (p *replay) read(b []byte, at int64) {
	flash := p.spool.flash
	if _, err := flash.ReadAt(b, at); err == nil {
		return
	}
	for off := 0; off < len(b); off += sectorSize {
		sector := b[off : off+sectorSize]
		if _, err := flash.ReadAt(sector, at+int64(off)); err != nil {
			clear(sector)
			p.report(Damage{At: at + int64(off), Reason: err.Error()})
		}
	}
}

// segment replays one segment into the index. It fails if a newer program has begun a
// run in it.
func (p *replay) segment(segment []byte, r run) error {
	s := p.spool
	number := s.index.segmentOf(r.at)
	p.read(segment, r.at)
	for off := pageSize; off < len(segment); off += pageSize {
		if _, err := s.keys.readHeader(segment[off:off+pageSize], s.geometry, r.at+int64(off)); errors.Is(err, ErrForeign) {
			return err
		}
	}
	frames, before := 0, p.epoch
	end := s.keys.scan(segment, s.geometry, r.at, r, visitor{
		run: func(r run) {
			p.epoch = max(p.epoch, r.epoch)
			s.index.next = max(s.index.next, r.next)
			s.runs[number] = append(s.runs[number], r)
			p.recovery.Sealed++
		},
		frame: func(f *frame, segment []byte, last bool) {
			frames++
			p.frame(f, segment, last)
		},
		damaged: func(at, _ int64) { p.report(Damage{At: at, Reason: reasonUnreadable}) },
	})
	if frames > 0 || p.lastSegment < 0 {
		p.lastSegment, p.lastEnd = number, int64(end)
	}
	if p.epoch > before {
		p.epochSegment, p.epochEnd = number, int64(end)
	}
	return nil
}

// frame replays one frame. The last frame of a run may be torn: its pieces are
// authenticated, and those that fail were never written.
func (p *replay) frame(f *frame, segment []byte, last bool) {
	if f.oneCopy {
		p.report(Damage{At: f.at, Reason: reasonOneCopy})
	}
	x := p.spool.index
	base := f.run.at - f.run.at%x.segment
	for i := range f.records {
		r := &f.records[i]
		// A moved message follows a note that was not moved.
		if r.kind == pieceRecord || r.kind == endRecord || r.kind == noteRecord {
			if x.messages[r.id] == nil {
				x.messages[r.id] = &message{}
			}
			x.next = max(x.next, r.id+1)
		}
		if r.kind == pieceRecord && last && !p.verifyPiece(f, i, segment, base) {
			p.report(Damage{ID: r.id, At: f.pieces[i].at, Reason: reasonTorn})
			p.torn[r.id] = true
			continue
		}
		x.apply(r, f.at, i, f.pieces[i])
	}
}

func (p *replay) verifyPiece(f *frame, i int, segment []byte, base int64) bool {
	r, piece := &f.records[i], f.pieces[i]
	sealed := slices.Clone(segment[piece.at-base:][:piece.sealed()])
	_, err := f.run.unseal(piece.counter, sealed, pieceAAD(piece.at, r.id, r.index))
	return err == nil
}

// finish drops uncommitted messages, marks incomplete ones as damaged, and
// determines where to continue.
func (p *replay) finish(first []run) {
	s := p.spool
	for _, id := range slices.Sorted(maps.Keys(s.index.messages)) {
		m := s.index.messages[id]
		switch {
		case m.state == open:
			s.index.drop(id)
		case !m.complete() && p.torn[id]:
			m.state = removed
			s.lazy.removed[id] = struct{}{}
		case !m.complete():
			m.damaged = true
			p.report(Damage{ID: id, At: int64(m.endAt) * s.geometry.segment, Reason: reasonIncomplete})
		default:
			p.recovery.Messages++
			p.recovery.Bytes += m.usage()
		}
	}
	s.damage = slices.Clone(p.recovery.Damaged)
	if p.lastEnd == s.geometry.segment {
		// The header prepared for the next segment has the highest epoch. It may be
		// overwritten only once a higher epoch is durable.
		p.lastSegment, p.lastEnd = p.epochSegment, p.epochEnd
	}
	s.tail = tail{segment: p.lastSegment, off: p.lastEnd, epoch: p.epoch}
	s.head, s.used = (p.lastSegment+1)%s.geometry.count, s.geometry.count
	s.room = max(0, s.geometry.segment-s.tail.off-pageSize)
	s.freeDeadSegments()
}
