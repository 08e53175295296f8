package spool

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
		records := s.oldest()
		if len(records) == 0 || s.put(records) != nil {
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

// oldest reads up to a frame of what lives in the oldest segment.
func (s *Spool) oldest() []record {
	var records []record
	for _, r := range s.livingInHead() {
		switch r.kind {
		case pieceRecord:
			data, err := s.readPiece(r.id, r.index)
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
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := records[:0]
	for _, r := range records {
		if m := s.index.messages[r.id]; r.kind == memoRecord || m != nil && m.state != removed {
			kept = append(kept, r)
		}
	}
	return kept
}

// livingInHead lists what to move, without its bytes. What is removed already
// is not moved: were its end written again behind its removal, it would rise.
func (s *Spool) livingInHead() []record {
	s.mu.Lock()
	defer s.mu.Unlock()
	var records []record
	size := frameOverhead
	in := func(at int64) bool { return at != 0 && s.index.segmentOf(at) == s.head }
	add := func(r record, data int) {
		if size += r.frameSize() + data; size <= s.geometry.frame {
			r.moved = true
			records = append(records, r)
		}
	}
	if s.index.memoAt == s.head {
		add(record{kind: memoRecord, data: s.index.memo}, 0)
	}
	for id, m := range s.index.messages {
		if m.state == removed || m.aside {
			continue
		}
		if size > s.geometry.frame {
			break
		}
		for i := range uint32(len(m.more) + 1) {
			if p := m.piece(i); in(p.at) {
				add(record{kind: pieceRecord, id: id, index: i, length: p.length}, 0)
			}
		}
		if m.state == queued && int(m.endAt) == s.head {
			add(record{kind: endRecord, id: id, client: m.client, size: m.size, index: m.pieces, envelope: m.envelope}, 0)
		}
		if m.state == queued && in(m.noteAt) {
			add(record{kind: noteRecord, id: id}, 2*int(m.noteSize))
		}
	}
	return records
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
		s.group.urgent = true
		s.kick()
	}
}
