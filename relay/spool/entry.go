package spool

import (
	"context"
	"errors"
	"fmt"
)

// Entry is a message being written. It is for one goroutine; either Commit or
// Abort ends it.
type Entry struct {
	spool    *Spool
	id       ID
	message  *message
	client   uint64
	buffer   []byte // the piece in the making
	envelope int
	written  int64 // bytes of envelope and content so far
	pieces   uint32
	promised int64 // bytes of flash held for what is still to come
	held     int64 // bytes held of the client's share
	handed   bool  // to the writer, end and all: what becomes of it is not ours to say
	err      error
}

// cost is what a message of so many bytes may take on flash, with the padding
// of the frames it is in.
func (g geometry) cost(bytes int64) int64 {
	pieces := bytes/int64(g.piece) + 1
	return bytes + pieces*int64(tagSize+2*recordSize[pieceRecord]) +
		2*int64(recordSize[endRecord]) + frameOverhead + pageSize + bytes/g.gather*pageSize
}

// Create begins a message of that client. declared is how many bytes of
// content will come, as far as that is known: they are held for it. Where the
// ring is full and removals are on their way to flash, it waits for them. It
// fails with ErrFull, ErrShare, ErrPoisoned, ErrClosed or ErrTooLong.
func (s *Spool) Create(client uint64, declared int64, envelope []byte) (*Entry, error) {
	if len(envelope) > MaxEnvelope {
		return nil, fmt.Errorf("an envelope of %d bytes: %w", len(envelope), ErrTooLong)
	}
	e := &Entry{spool: s, client: client, envelope: len(envelope)}
	total := int64(len(envelope)) + max(declared, 0)
	s.mu.Lock()
	err := e.hold(s.geometry.cost(total), total)
	if err == nil {
		e.id = s.index.next
		s.index.next++
		e.message = &message{client: client}
		s.index.messages[e.id] = e.message
		e.buffer = s.buffer(total)
	}
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if err := e.append(envelope); err != nil {
		e.Abort()
		return nil, err
	}
	return e, nil
}

// Room fails as Create would for a message of that client and so many bytes.
func (s *Spool) Room(client uint64, bytes int64) error {
	e := &Entry{spool: s, client: client}
	s.mu.Lock()
	defer s.mu.Unlock()
	err := e.hold(s.geometry.cost(bytes), bytes)
	e.letGo()
	return err
}

// maxRounds is how many rounds of the writer an entry waits for room: the one
// under way may be past the removals, and the next writes them and cleans up.
const maxRounds = 2

// hold promises the entry more flash and more of its client's share. Where
// room is only just becoming free it waits for that. The caller holds mu,
// which is let go meanwhile.
func (e *Entry) hold(flash, share int64) error {
	s := e.spool
	for range maxRounds {
		if err := e.claim(flash, share); !errors.Is(err, ErrFull) || !s.busy && len(s.lazy.removed) == 0 {
			return err
		}
		s.awaitRound()
	}
	return e.claim(flash, share)
}

// claim is hold without the wait. The caller holds mu.
func (e *Entry) claim(flash, share int64) error {
	s := e.spool
	if err := s.usable(); err != nil {
		return err
	}
	if s.limits.Share > 0 && s.index.clients[e.client]+share > s.limits.Share {
		return ErrShare
	}
	if s.promised+s.flying+flash > s.space() {
		return ErrFull
	}
	s.promised += flash
	e.promised += flash
	s.index.clients[e.client] += share
	e.held += share
	return nil
}

// space is how much the frames of messages may still take, in bytes. The
// caller holds mu.
func (s *Spool) space() int64 {
	free := s.geometry.count - s.used - reserveForMessages
	if free < 0 {
		return 0
	}
	waste := int64(s.geometry.piece + pageSize)
	return max(0, s.room-waste) + int64(free)*(s.geometry.segment-pageSize-waste)
}

// Write adds content. It waits only while the flash is behind by more than a
// batch, and for room as Create does. It fails with ErrFull or ErrShare where
// more comes than was declared and there is no room for it, and with
// ErrPoisoned.
func (e *Entry) Write(p []byte) (int, error) {
	if e.err != nil {
		return 0, e.err
	}
	if e.err = e.extend(int64(len(p))); e.err == nil {
		e.err = e.append(p)
	}
	if e.err != nil {
		return 0, e.err
	}
	return len(p), nil
}

// extend holds what n more bytes need beyond what is held already.
func (e *Entry) extend(n int64) error {
	s := e.spool
	s.mu.Lock()
	defer s.mu.Unlock()
	over := e.written + n - e.held
	if over <= 0 {
		return nil
	}
	return e.hold(s.geometry.cost(e.held+over)-s.geometry.cost(e.held), over)
}

func (e *Entry) append(p []byte) error {
	for len(p) > 0 {
		n := min(len(p), e.spool.geometry.piece-len(e.buffer))
		e.buffer = append(e.buffer, p[:n]...)
		e.written += int64(n)
		p = p[n:]
		if len(e.buffer) < e.spool.geometry.piece {
			continue
		}
		if err := e.submit(); err != nil {
			return err
		}
	}
	return nil
}

// submit hands a piece to the writer, and waits where that has enough to do.
func (e *Entry) submit() error {
	s := e.spool
	s.mu.Lock()
	if err := s.usable(); err != nil {
		s.mu.Unlock()
		return err
	}
	if s.index.messages[e.id] == nil {
		s.mu.Unlock()
		return ErrFull
	}
	g := s.group
	e.addPiece(g)
	full := g.full()
	s.mu.Unlock()
	if full {
		s.kick()
		<-g.taken
	}
	return nil
}

// addPiece moves the buffer into the group. The caller holds mu.
func (e *Entry) addPiece(g *group) {
	if len(e.buffer) == 0 {
		return
	}
	e.add(g, record{kind: pieceRecord, id: e.id, index: e.pieces, data: e.buffer, length: uint32(len(e.buffer))})
	e.pieces++
	e.buffer = e.spool.buffer(max(0, e.held-e.written))
}

func (e *Entry) add(g *group, r record) {
	n := int64(r.frameSize())
	g.add(r)
	e.spool.flying += n
	used := min(n, e.promised)
	e.promised -= used
	e.spool.promised -= used
}

// outcome tells what became of the entry's records in a group that is done.
func (e *Entry) outcome(g *group) error {
	s := e.spool
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case errors.Is(g.err, ErrClosed):
		return g.err
	case s.index.messages[e.id] != nil:
		return s.poison
	case g.err != nil:
		return g.err
	}
	return ErrFull
}

// Commit returns once the message is durable; it is in the queue from then on.
// Where ctx ends first the message is removed again as soon as that is known.
func (e *Entry) Commit(ctx context.Context) (ID, error) {
	if e.err != nil {
		e.Abort()
		return 0, e.err
	}
	s := e.spool
	s.mu.Lock()
	if e.err = s.usable(); e.err != nil {
		s.mu.Unlock()
		e.Abort()
		return 0, e.err
	}
	g := s.group
	e.addPiece(g)
	e.add(g, record{kind: endRecord, id: e.id, client: e.client, size: e.written - int64(e.envelope), index: e.pieces, envelope: uint32(e.envelope)})
	g.commits++
	e.handed = true
	first, due := g.commits == 1, g.due(s.commits.expected)
	s.mu.Unlock()
	if first || due {
		s.kick()
	}
	select {
	case <-g.done:
		return e.finish(g)
	case <-ctx.Done():
		go func() {
			<-g.done
			if id, err := e.finish(g); err == nil {
				_ = s.Remove(id)
			}
		}()
		return 0, fmt.Errorf("waiting for the spool's flash: %w", ctx.Err())
	}
}

// finish tells what became of a message whose group is done.
func (e *Entry) finish(g *group) (ID, error) {
	s := e.spool
	err := e.outcome(g)
	s.mu.Lock()
	defer s.mu.Unlock()
	e.err = ErrNotFound
	e.letGo()
	if e.message.state != open {
		return e.id, nil
	}
	s.index.drop(e.id)
	return 0, err
}

// Abort gives the message up. It may be called more than once; after Commit it
// does nothing.
func (e *Entry) Abort() {
	s := e.spool
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.handed {
		return
	}
	s.index.drop(e.id)
	e.letGo()
	e.buffer = nil
	if e.err == nil {
		e.err = ErrNotFound
	}
}

// letGo gives back what was held. The caller holds mu.
func (e *Entry) letGo() {
	s := e.spool
	s.promised -= e.promised
	if s.index.clients[e.client] -= e.held; s.index.clients[e.client] == 0 {
		delete(s.index.clients, e.client)
	}
	e.promised, e.held = 0, 0
}
