package spool

// state is the stage of a message.
type state uint8

const (
	open    state = iota // being written
	queued               // committed
	removed              // removed, though perhaps not yet on flash
)

// endCost is the size of an end record for counting a segment's live bytes.
const endCost = 64

// message is the index entry of a message. It is kept small: there may be
// 250,000.
type message struct {
	client    uint64
	size      int64 // of the content
	noteAt    int64 // frame of the newest note; 0 = none
	first     ref
	rest      []ref
	envelope  uint32
	pieces    uint32
	noteSize  uint32
	noteIndex uint32 // record number in that frame
	endAt     int32  // segment of the end record
	state     state
	damaged   bool
}

func (m *message) piece(i uint32) ref {
	switch {
	case i == 0:
		return m.first
	case int(i) <= len(m.rest):
		return m.rest[i-1]
	}
	return ref{}
}

func (m *message) setPiece(i uint32, r ref) {
	if i == 0 {
		m.first = r
		return
	}
	for int(i) > len(m.rest) {
		m.rest = append(m.rest, ref{})
	}
	m.rest[i-1] = r
}

// usage returns what the message counts towards its client's share, in bytes.
func (m *message) usage() int64 { return m.size + int64(m.envelope) }

// complete reports whether all pieces were found.
func (m *message) complete() bool {
	total := int64(0)
	for i := range m.pieces {
		r := m.piece(i)
		if r.at == 0 {
			return false
		}
		total += int64(r.length)
	}
	return total == m.usage()
}

// index is the state that results from all frames.
type index struct {
	segment  int64 // bytes
	messages map[ID]*message
	clients  map[uint64]int64 // bytes
	live     []int64          // live bytes in each segment
	memo     []byte
	memoAt   int // segment of the memo; -1 = none
	next     ID
}

func newIndex(g geometry) *index {
	return &index{
		segment:  g.segment,
		messages: map[ID]*message{},
		clients:  map[uint64]int64{},
		live:     make([]int64, g.count),
		memoAt:   -1,
		next:     1,
	}
}

func (x *index) segmentOf(at int64) int { return int(at / x.segment) }

// apply applies one durable record. Records of unknown messages belong to
// aborted or removed messages and are ignored.
func (x *index) apply(r *record, frameAt int64, nth int, piece ref) {
	segment := x.segmentOf(frameAt)
	if r.kind == memoRecord {
		x.setMemo(r.data, segment)
		return
	}
	m := x.messages[r.id]
	if m == nil {
		return
	}
	switch r.kind {
	case pieceRecord:
		x.release(m.piece(r.index))
		m.setPiece(r.index, piece)
		x.live[segment] += int64(piece.sealed())
	case endRecord:
		x.end(m, r, segment)
	case noteRecord:
		x.dropNote(m)
		m.noteAt, m.noteIndex, m.noteSize = frameAt, uint32(nth), uint32(len(r.data))
		x.live[segment] += int64(len(r.data))
	case removedRecord:
		x.drop(r.id)
	}
}

func (x *index) end(m *message, r *record, segment int) {
	if m.state == open {
		m.client, m.size, m.envelope, m.pieces = r.client, r.size, r.envelope, r.index
		m.state = queued
		x.clients[m.client] += m.usage()
	} else {
		x.live[m.endAt] -= endCost
	}
	m.endAt = int32(segment)
	x.live[segment] += endCost
}

func (x *index) setMemo(memo []byte, segment int) {
	if x.memoAt >= 0 {
		x.live[x.memoAt] -= endCost
	}
	x.memo, x.memoAt = memo, segment
	x.live[segment] += endCost
}

func (x *index) release(r ref) {
	if r.at != 0 {
		x.live[x.segmentOf(r.at)] -= int64(r.sealed())
	}
}

func (x *index) dropNote(m *message) {
	if m.noteAt != 0 {
		x.live[x.segmentOf(m.noteAt)] -= int64(m.noteSize)
		m.noteAt = 0
	}
}

// drop removes a message and everything it occupied.
func (x *index) drop(id ID) {
	m := x.messages[id]
	if m == nil {
		return
	}
	x.release(m.first)
	for _, r := range m.rest {
		x.release(r)
	}
	x.dropNote(m)
	if m.state != open {
		x.live[m.endAt] -= endCost
		if x.clients[m.client] -= m.usage(); x.clients[m.client] == 0 {
			delete(x.clients, m.client)
		}
	}
	delete(x.messages, id)
}
