package spool

import (
	"errors"
	"slices"
)

// dropDead frees the oldest segments that hold nothing any more. Oldest first:
// a removal never goes before what it removes. The caller holds mu.
func (s *Spool) dropDead() {
	for s.used > 1 && s.index.live[s.head] == 0 {
		s.head = (s.head + 1) % s.geometry.count
		s.used--
	}
}

// clean moves what still lives in the oldest segment forward while room is
// short and that gains something.
func (s *Spool) clean() {
	for s.worthMoving() {
		if !s.moveHead() {
			return
		}
	}
}

func (s *Spool) worthMoving() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	free := s.geometry.count - s.used
	return s.poison == nil && s.used > 1 && free <= reserveForMessages &&
		(s.index.live[s.head] <= s.geometry.segment/2 || free == 0)
}

// moveHead moves the oldest segment, frame by frame, as long as that is worth
// it; false means that it moved nothing.
func (s *Spool) moveHead() bool {
	segment, living := s.livingInHead()
	moved := false
	for len(living) > 0 && s.worthMoving() {
		n := s.frameful(living)
		records := s.load(living[:n], segment)
		living = living[n:]
		if len(records) > 0 && s.put(records) != nil {
			return false
		}
		moved = moved || len(records) > 0
	}
	return moved
}

// frameful tells how many of the records to move in one frame, at least one.
func (s *Spool) frameful(records []record) int {
	size := frameOverhead
	for n := range records {
		size += records[n].frameSize()
		if records[n].kind == noteRecord {
			size += 2 * int(records[n].length)
		}
		if int64(size) > s.geometry.gather && n > 0 {
			return n
		}
	}
	return len(records)
}

// load reads what is to be moved and leaves out what needs to be moved no
// more. What is removed already is not moved: were its end written again
// behind its removal, it would rise.
func (s *Spool) load(listed []record, segment int) []record {
	var records []record
	for _, r := range s.still(listed, segment) {
		switch r.kind {
		case pieceRecord:
			data, err := s.readPiece(r.id, r.index, nil)
			if errors.Is(err, ErrNotFound) || errors.Is(err, ErrDamaged) {
				continue
			}
			if err != nil {
				s.giveUp(r.id, err)
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
	return s.still(records, segment)
}

// still leaves out what does not live in the segment any more.
func (s *Spool) still(records []record, segment int) []record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(records, func(r record) bool {
		return !s.index.livesIn(segment, s.index.messages[r.id], &r)
	})
}

// livingInHead lists what to move out of the oldest segment, without its
// bytes. It goes through the whole index, so once for a segment.
func (s *Spool) livingInHead() (segment int, living []record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.index
	add := func(m *message, r record) {
		if r.moved = true; x.livesIn(s.head, m, &r) {
			living = append(living, r)
		}
	}
	add(nil, record{kind: memoRecord, data: x.memo})
	for id, m := range x.messages {
		for i := range uint32(len(m.more) + 1) {
			add(m, record{kind: pieceRecord, id: id, index: i, length: m.piece(i).length})
		}
		add(m, record{kind: endRecord, id: id, client: m.client, size: m.size, index: m.pieces, envelope: m.envelope})
		add(m, record{kind: noteRecord, id: id, length: m.noteSize})
	}
	return s.head, living
}

// livesIn tells whether that record of m, or the memo, lies in the segment and
// is still wanted.
func (x *index) livesIn(segment int, m *message, r *record) bool {
	if r.kind == memoRecord {
		return x.memoAt == segment
	}
	if m == nil || m.state == removed || m.aside {
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

// giveUp sets a message aside that cannot be read in order to be moved, and
// removes it: the place it lies in is needed.
func (s *Spool) giveUp(id ID, err error) {
	s.setAside(id, err)
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.index.messages[id]; m != nil && m.state == queued {
		m.state = removed
		s.lazy.removed[id] = struct{}{}
		s.flushNow()
	}
}
