package spool

import (
	"errors"
	"slices"
)

// freeDeadSegments frees the oldest segments without live data. Oldest first,
// so that a removal record never disappears before the message it removes. The
// caller holds mu.
func (s *Spool) freeDeadSegments() {
	for s.used > 1 && s.index.live[s.head] == 0 {
		s.head = (s.head + 1) % s.geometry.count
		s.used--
	}
}

// compact moves live records out of the oldest segment while free segments are
// short and that gains space.
func (s *Spool) compact() {
	for s.shouldCompact() {
		if !s.compactHead() {
			return
		}
	}
}

func (s *Spool) shouldCompact() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	free := s.geometry.count - s.used
	return s.poison == nil && s.used > 1 && free <= reserveForMessages &&
		(s.index.live[s.head] <= s.geometry.segment/2 || free == 0)
}

// compactHead moves the live records of the oldest segment, frame by frame,
// while shouldCompact. It returns whether it moved anything.
func (s *Spool) compactHead() bool {
	segment, living := s.liveInHead()
	moved := false
	for len(living) > 0 && s.shouldCompact() {
		n := s.frameCapacity(living)
		records := s.loadRecords(living[:n], segment)
		living = living[n:]
		if len(records) > 0 && s.writeRecords(records) != nil {
			return false
		}
		moved = moved || len(records) > 0
	}
	return moved
}

// frameCapacity returns how many of the records to move in one frame, at least
// one.
func (s *Spool) frameCapacity(records []record) int {
	size := frameOverhead
	for n := range records {
		size += records[n].frameSize()
		if records[n].kind == noteRecord {
			size += 2 * int(records[n].length)
		}
		if int64(size) > s.geometry.batchSize && n > 0 {
			return n
		}
	}
	return len(records)
}

// loadRecords reads the data of the listed records and omits those no longer
// live. A removed message is not moved: an end record behind its removal would
// restore it.
func (s *Spool) loadRecords(listed []record, segment int) []record {
	var records []record
	for _, r := range s.stillLive(listed, segment) {
		switch r.kind {
		case pieceRecord:
			data, err := s.readPiece(r.id, r.index, nil)
			if errors.Is(err, ErrNotFound) || errors.Is(err, ErrDamaged) {
				continue
			}
			if err != nil {
				s.removeUnreadable(r.id, err)
				continue
			}
			r.data = data
		case noteRecord:
			note, err := s.NoteOf(r.id)
			if err != nil {
				continue
			}
			r.data = note
		}
		records = append(records, r)
	}
	return s.stillLive(records, segment)
}

// stillLive omits the records that are no longer live in the segment.
func (s *Spool) stillLive(records []record, segment int) []record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(records, func(r record) bool {
		return !s.index.isLiveIn(segment, s.index.messages[r.id], &r)
	})
}

// liveInHead lists the live records of the oldest segment, without their data.
// It scans the whole index, so it is called once per segment.
func (s *Spool) liveInHead() (segment int, living []record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.index
	add := func(m *message, r record) {
		if r.moved = true; x.isLiveIn(s.head, m, &r) {
			living = append(living, r)
		}
	}
	add(nil, record{kind: memoRecord, data: x.memo})
	for id, m := range x.messages {
		for i := range uint32(len(m.rest) + 1) {
			add(m, record{kind: pieceRecord, id: id, index: i, length: m.piece(i).length})
		}
		add(m, record{kind: endRecord, id: id, client: m.client, size: m.size, index: m.pieces, envelope: m.envelope})
		add(m, record{kind: noteRecord, id: id, length: m.noteSize})
	}
	return s.head, living
}

// isLiveIn reports whether that record of m, or the memo, is in the segment
// and is still needed.
func (x *index) isLiveIn(segment int, m *message, r *record) bool {
	if r.kind == memoRecord {
		return x.memoAt == segment
	}
	if m == nil || m.state == removed || m.damaged {
		return false
	}
	in := func(at int64) bool { return at != 0 && x.segmentOf(at) == segment }
	switch r.kind {
	case pieceRecord:
		return in(m.piece(r.index).at)
	case endRecord:
		return m.state == queued && int(m.endAt) == segment
	}
	return m.state == queued && in(m.noteAt)
}

// removeUnreadable removes a message that cannot be read for moving, because
// its segment must be freed.
func (s *Spool) removeUnreadable(id ID, err error) {
	s.markDamaged(id, err)
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.index.messages[id]; m != nil && m.state == queued {
		m.state = removed
		s.lazy.removed[id] = struct{}{}
		s.flushNow()
	}
}
