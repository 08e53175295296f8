package spool

// state is how far a message has come.
type state uint8

const (
	open    state = iota // being written
	queued               // committed, and owed to somebody
	removed              // done with, though perhaps not yet on flash
)

// endCost is what an end record counts for among a segment's live bytes.
const endCost = 64

// message is what is kept in memory of each. It is small on purpose: there
// may be a quarter of a million.
type message struct {
	client   uint64
	size     int64 // of the content
	noteAt   int64 // the frame of its newest note; 0 is none
	first    ref
	more     []ref
	envelope uint32
	pieces   uint32
	noteSize uint32
	noteNth  uint32 // which record of that frame
	endAt    int32  // the segment of its end record
	state    state
	aside    bool
}

func (m *message) piece(i uint32) ref {
	switch {
	case i == 0:
		return m.first
	case int(i) <= len(m.more):
		return m.more[i-1]
	}
	return ref{}
}

func (m *message) setPiece(i uint32, r ref) {
	if i == 0 {
		m.first = r
		return
	}
	for int(i) > len(m.more) {
		m.more = append(m.more, ref{})
	}
	m.more[i-1] = r
}

// usage is what the message counts for in its client's share, in bytes.
func (m *message) usage() int64 { return m.size + int64(m.envelope) }

// whole tells whether all that the message needs was found.
func (m *message) whole() bool {
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

// index is what the frames add up to.
type index struct {
	segment  int64 // bytes
	messages map[ID]*message
	clients  map[uint64]int64 // bytes
	live     []int64          // bytes that each segment still holds
	memo     []byte
	memoAt   int // the segment; -1 is none
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

// apply takes in one durable record. Records of messages that are not known
// are of messages given up, or removed since, and count for nothing.
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
		m.noteAt, m.noteNth, m.noteSize = frameAt, uint32(nth), uint32(len(r.data))
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

// drop forgets a message and gives back all it held.
func (x *index) drop(id ID) {
	m := x.messages[id]
	if m == nil {
		return
	}
	x.release(m.first)
	for _, r := range m.more {
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
