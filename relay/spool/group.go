package spool

import "time"

// group is a batch of records that are written together, with one flush per frame.
type group struct {
	records []record
	bytes   int64
	limit   int64 // bytes from which it is written without waiting
	commits int
	urgent  bool          // write without waiting for more
	closed  chan struct{} // closed when the writer has taken it and a new group begins
	done    chan struct{}
	err     error // set before done is closed
}

func newGroup(limit int64) *group {
	return &group{limit: limit, closed: make(chan struct{}), done: make(chan struct{})}
}

func (g *group) add(r record) {
	g.records = append(g.records, r)
	g.bytes += int64(r.frameSize())
}

// full reports whether the group has reached its limit, so that writers wait.
func (g *group) full() bool { return g.bytes >= g.limit }

// due reports whether the group is to be written, given the expected number of
// commits.
func (g *group) due(expected int) bool {
	return g.urgent || g.full() || g.commits >= expected
}

// buffer returns a buffer for the next piece, with n bytes still to come. The
// caller holds mu.
func (s *Spool) buffer(n int64) []byte {
	if last := len(s.freeBuffers) - 1; last >= 0 && n >= int64(s.geometry.piece) {
		b := s.freeBuffers[last]
		s.freeBuffers = s.freeBuffers[:last]
		return b
	}
	return make([]byte, 0, min(n, int64(s.geometry.piece)))
}

// recycleBuffers keeps the buffers of full pieces for reuse, at most one
// group's worth. The caller holds mu.
func (s *Spool) recycleBuffers(written []record) {
	for i := range written {
		if b := written[i].data; written[i].kind == pieceRecord && cap(b) == s.geometry.piece &&
			len(s.freeBuffers) < int(s.geometry.batchSize)/s.geometry.piece {
			s.freeBuffers = append(s.freeBuffers, b[:0])
		}
	}
}

// lazy holds updates that are written with the next group.
type lazy struct {
	notes   map[ID][]byte
	removed map[ID]struct{}
	memo    []byte
	timer   *time.Timer
}

func newLazy() lazy { return lazy{notes: map[ID][]byte{}, removed: map[ID]struct{}{}} }

func (l *lazy) arm(fire func()) {
	if l.timer == nil {
		l.timer = time.AfterFunc(LazyDelay, fire)
	}
}

func (l *lazy) stop() {
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
}

// records returns and clears the updates.
func (l *lazy) records() []record {
	l.stop()
	all := make([]record, 0, len(l.notes)+len(l.removed)+1)
	for id, note := range l.notes {
		all = append(all, record{kind: noteRecord, id: id, data: note})
	}
	for id := range l.removed {
		all = append(all, record{kind: removedRecord, id: id})
	}
	if l.memo != nil {
		all = append(all, record{kind: memoRecord, data: l.memo})
	}
	clear(l.notes)
	clear(l.removed)
	l.memo = nil
	return all
}
