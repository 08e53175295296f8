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

// Damage is something on flash that is not what was written there.
type Damage struct {
	ID     ID    // the message it costs; 0 where none is known
	At     int64 // bytes from the start of the region
	Reason string
}

func (d Damage) String() string {
	if d.ID == 0 {
		return fmt.Sprintf("at %d: %s", d.At, d.Reason)
	}
	return fmt.Sprintf("message %d at %d: %s", d.ID, d.At, d.Reason)
}

// Recovery tells what Open found.
type Recovery struct {
	Formatted bool
	Messages  int
	Bytes     int64 // of envelopes and content
	Damaged   []Damage
	Sealed    int // runs that an earlier start had opened
	Cipher    string
	Took      time.Duration
}

const (
	reasonHeader     = "the segment's header cannot be read; nothing is lost if the power was cut while the segment was begun"
	reasonUnreadable = "frames cannot be read"
	reasonOneCopy    = "one of two copies of a manifest cannot be read; nothing is lost"
	reasonTorn       = "the last frame of a run is torn; it was promised to nobody unless the flash is damaged"
	reasonIncomplete = "parts of the message cannot be found"
)

// replay is a recovery under way.
type replay struct {
	spool    *Spool
	recovery Recovery
	last     int   // the newest segment that holds a frame
	end      int64 // where the last frame in it ends
	epoch    uint64
	newest   int         // the segment that shows the highest epoch
	behind   int64       // where its last frame or header ends
	torn     map[ID]bool // messages with a piece in a torn frame
}

func (s *Spool) recover() (Recovery, error) {
	began := time.Now()
	// What an earlier process wrote and did not flush is durable before it
	// is believed.
	if err := s.flush(); err != nil {
		return Recovery{}, err
	}
	p := &replay{spool: s, last: -1, torn: map[ID]bool{}}
	first, err := p.headers()
	if err != nil {
		return p.recovery, err
	}
	if len(first) == 0 {
		p.recovery.Formatted = true
		p.recovery.Took = time.Since(began)
		p.recovery.Cipher = fastest().String()
		s.used = 1
		return p.recovery, s.begin()
	}
	segment := make([]byte, s.geometry.segment)
	for _, r := range first {
		p.segment(segment, r)
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
	var refused error
	page := make([]byte, pageSize)
	for i := range s.geometry.count {
		at := int64(i) * s.geometry.segment
		p.read(page, at)
		r, err := s.keys.readHeader(page, s.geometry, at)
		switch {
		case err == nil:
			found = append(found, r)
		case !errors.Is(err, errHeader):
			refused = err
		case !blank(page):
			p.report(Damage{At: at, Reason: reasonHeader})
		}
	}
	slices.SortFunc(found, func(a, b run) int { return cmp.Compare(a.epoch, b.epoch) })
	if len(found) > 0 {
		return found, nil
	}
	if refused != nil {
		return nil, refused
	}
	return nil, p.factoryNew()
}

// factoryNew accepts a region of zeros, the first page apart: a first start
// may have been cut short there.
func (p *replay) factoryNew() error {
	s := p.spool
	p.recovery.Damaged = nil
	b := make([]byte, minSegment)
	for at := int64(pageSize); at < s.flash.Size(); at += int64(len(b)) {
		b = b[:min(int64(len(b)), s.flash.Size()-at)]
		if _, err := s.flash.ReadAt(b, at); err != nil {
			return fmt.Errorf("reading the spool's region at %d: %w", at, err)
		}
		if !blank(b) {
			return ErrForeign
		}
	}
	return nil
}

func blank(b []byte) bool {
	return len(b) == 0 || b[0] == 0 && bytes.Equal(b[1:], b[:len(b)-1])
}

func (p *replay) report(d Damage) { p.recovery.Damaged = append(p.recovery.Damaged, d) }

// sectorSize is the least that is lost to a bad spot, in bytes.
const sectorSize = 512

// read fills b. What cannot be read is reported and left zero, sector by
// sector, so that a bad one costs what lies in it alone.
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

// segment replays one segment into the index.
func (p *replay) segment(segment []byte, r run) {
	s := p.spool
	number := s.index.segmentOf(r.at)
	p.read(segment, r.at)
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
	if frames > 0 || p.last < 0 {
		p.last, p.end = number, int64(end)
	}
	if p.epoch > before {
		p.newest, p.behind = number, int64(end)
	}
}

// frame replays one frame. The last of a run may be torn: its pieces are held
// against their tags, and those that fail were never written.
func (p *replay) frame(f *frame, segment []byte, last bool) {
	if f.oneCopy {
		p.report(Damage{At: f.at, Reason: reasonOneCopy})
	}
	x := p.spool.index
	base := f.run.at - f.run.at%x.segment
	for i := range f.records {
		r := &f.records[i]
		// What was moved comes behind a note that stayed where it was.
		if r.kind == pieceRecord || r.kind == endRecord || r.kind == noteRecord {
			if x.messages[r.id] == nil {
				x.messages[r.id] = &message{}
			}
			x.next = max(x.next, r.id+1)
		}
		if r.kind == pieceRecord && last && !p.proves(f, i, segment, base) {
			p.report(Damage{ID: r.id, At: f.pieces[i].at, Reason: reasonTorn})
			p.torn[r.id] = true
			continue
		}
		x.apply(r, f.at, i, f.pieces[i])
	}
}

func (p *replay) proves(f *frame, i int, segment []byte, base int64) bool {
	r, piece := &f.records[i], f.pieces[i]
	sealed := slices.Clone(segment[piece.at-base:][:piece.sealed()])
	_, err := p.spool.keys.unseal(f.run, piece.counter, sealed, pieceData(piece.at, r.id, r.index))
	return err == nil
}

// finish drops what was never committed, sets aside what is incomplete, and
// finds where to go on.
func (p *replay) finish(first []run) {
	s := p.spool
	for _, id := range slices.Sorted(maps.Keys(s.index.messages)) {
		m := s.index.messages[id]
		switch {
		case m.state == open:
			s.index.drop(id)
		case !m.whole() && p.torn[id]:
			m.state = removed
			s.lazy.removed[id] = struct{}{}
		case !m.whole():
			m.aside = true
			p.report(Damage{ID: id, At: int64(m.endAt) * s.geometry.segment, Reason: reasonIncomplete})
		default:
			p.recovery.Messages++
			p.recovery.Bytes += m.usage()
		}
	}
	s.damage = slices.Clone(p.recovery.Damaged)
	if p.end == s.geometry.segment {
		// The highest epoch is shown by the header prepared for the next
		// segment: it may only go when a higher one is durable.
		p.last, p.end = p.newest, p.behind
	}
	s.tail = tail{segment: p.last, off: p.end, epoch: p.epoch}
	s.head, s.used = (p.last+1)%s.geometry.count, s.geometry.count
	s.room = max(0, s.geometry.segment-s.tail.off-pageSize)
	s.dropDead()
}
