package spool

import "time"

// group is what is written together: those who wait for it share its flushes.
type group struct {
	records []record
	bytes   int64
	enough  int64 // bytes
	commits int
	urgent  bool          // it is not to wait for more
	taken   chan struct{} // closed when the writer has it and a new one begins
	done    chan struct{}
	err     error // set before done is closed
}

func newGroup(enough int64) *group {
	return &group{enough: enough, taken: make(chan struct{}), done: make(chan struct{})}
}

func (g *group) add(r record) {
	g.records = append(g.records, r)
	g.bytes += int64(r.frameSize())
}

// full tells whether the group has so much that who has more is to wait.
func (g *group) full() bool { return g.bytes >= g.enough }

// due tells whether the group is to be written, if so many commits are expected.
func (g *group) due(expected int) bool {
	return g.urgent || g.full() || g.commits >= expected
}

// buffer is for the next piece of n bytes that are still to come. The caller
// holds mu.
func (s *Spool) buffer(n int64) []byte {
	if last := len(s.spare) - 1; last >= 0 && n >= int64(s.geometry.piece) {
		b := s.spare[last]
		s.spare = s.spare[:last]
		return b
	}
	return make([]byte, 0, min(n, int64(s.geometry.piece)))
}

// keepBuffers takes back those of whole pieces, as many as one group has. The
// caller holds mu.
func (s *Spool) keepBuffers(written []record) {
	for i := range written {
		if b := written[i].data; written[i].kind == pieceRecord && cap(b) == s.geometry.piece &&
			len(s.spare) < int(s.geometry.gather)/s.geometry.piece {
			s.spare = append(s.spare, b[:0])
		}
	}
}

// lazy is what travels with the next group, whoever asks for that.
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

// records empties l.
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
