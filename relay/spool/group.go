package spool

import "time"

// gatherBytes is how much uncommitted content is gathered before it is
// written: enough that padding hardly counts.
const gatherBytes = 256 << 10

// group is what is written together: those who wait for it share its flushes.
type group struct {
	records []record
	bytes   int64
	commits int
	urgent  bool // it is not to wait for more
	done    chan struct{}
	err     error // set before done is closed
}

func newGroup() *group { return &group{done: make(chan struct{})} }

func (g *group) add(r record) {
	g.records = append(g.records, r)
	g.bytes += int64(r.frameSize())
}

// due tells whether the group is to be written, if so many commits are expected.
func (g *group) due(expected int) bool {
	return g.urgent || g.bytes >= gatherBytes || g.commits >= expected
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
