package spool

import (
	"context"
	"errors"
	"fmt"
)

// Entry is a message being written. It is not safe for concurrent use. End it
// with Commit or Abort.
type Entry struct {
	spool         *Spool
	id            ID
	message       *message
	client        uint64
	share         int64  // bytes that the client's messages may take; 0 = no limit
	buffer        []byte // the incomplete piece
	envelope      int
	written       int64 // bytes of envelope and content so far
	pieces        uint32
	reservedFlash int64 // bytes of flash reserved for data not yet written
	reservedShare int64 // bytes reserved of the client's share
	submitted     bool  // the end record was passed to the writer, which decides the result
	err           error
}

// flashCost returns the most flash that a message of that many bytes may take,
// including the padding of its frames.
func (g geometry) flashCost(bytes int64) int64 {
	pieces := bytes/int64(g.piece) + 1
	return bytes + pieces*int64(tagSize+2*recordSize[pieceRecord]) +
		2*int64(recordSize[endRecord]) + frameOverhead + pageSize + bytes/g.batchSize*pageSize
}

// Create starts a message of that client. declared is the expected number of
// content bytes, or 0; space for them is reserved. If the ring is full and
// removals are pending, it waits for them. Errors: ErrFull, ErrShare,
// ErrPoisoned, ErrClosed, ErrTooLong.
func (s *Spool) Create(client uint64, declared int64, envelope []byte) (*Entry, error) {
	return s.CreateWithin(client, 0, declared, envelope)
}

// CreateWithin is Create for a client whose messages may take that percentage of the
// flash at most; 0 means the share of every client.
func (s *Spool) CreateWithin(client uint64, percent int, declared int64, envelope []byte) (*Entry, error) {
	if len(envelope) > MaxEnvelope {
		return nil, fmt.Errorf("envelope of %d bytes: %w", len(envelope), ErrTooLong)
	}
	e := &Entry{spool: s, client: client, share: s.share(percent), envelope: len(envelope)}
	total := int64(len(envelope)) + max(declared, 0)
	s.mu.Lock()
	err := e.reserve(s.geometry.flashCost(total), total)
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
	if err := e.appendPieces(envelope); err != nil {
		e.Abort()
		return nil, err
	}
	return e, nil
}

// share returns the share of a client in bytes; 0 means no limit.
func (s *Spool) share(percent int) int64 {
	if percent == 0 {
		return s.limits.Share
	}
	return s.flash.Size() / 100 * int64(percent)
}

// Room returns the error that CreateWithin would return for a message of that client,
// percentage and size.
func (s *Spool) Room(client uint64, percent int, bytes int64) error {
	e := &Entry{spool: s, client: client, share: s.share(percent)}
	s.mu.Lock()
	defer s.mu.Unlock()
	err := e.reserve(s.geometry.flashCost(bytes), bytes)
	e.releaseReservation()
	return err
}

// maxRounds is how many writer rounds an entry waits for space: the current
// round may be past the removals; the next writes them and compacts.
const maxRounds = 2

// reserve reserves flash and client share for the entry, and waits for space
// that is being freed. The caller holds mu, which is released while waiting.
func (e *Entry) reserve(flash, share int64) error {
	s := e.spool
	for range maxRounds {
		err := e.tryReserve(flash, share)
		if !errors.Is(err, ErrFull) && !errors.Is(err, ErrShare) || !s.busy && len(s.lazy.removed) == 0 {
			return err
		}
		s.awaitRound()
	}
	return e.tryReserve(flash, share)
}

// tryReserve is reserve without waiting. The caller holds mu.
func (e *Entry) tryReserve(flash, share int64) error {
	s := e.spool
	if err := s.checkWritable(); err != nil {
		return err
	}
	left := s.space() - s.reserved - s.inFlight - flash
	used := s.index.clients[e.client]
	switch others := used - e.reservedShare; {
	case e.share > 0 && used+share > e.share:
		return ErrShare
	case left < 0:
		return ErrFull
	case e.share > 0 && others > 0 && used+share > left+left/4:
		return ErrShare
	}
	s.reserved += flash
	e.reservedFlash += flash
	s.index.clients[e.client] += share
	e.reservedShare += share
	return nil
}

// space returns how many bytes message frames may still take. The caller holds
// mu.
func (s *Spool) space() int64 {
	free := s.geometry.count - s.used - reserveForMessages
	if free < 0 {
		return 0
	}
	waste := int64(s.geometry.piece + pageSize)
	return max(0, s.room-waste) + int64(free)*(s.geometry.segment-pageSize-waste)
}

// Write adds content. It waits if the flash is behind by more than a batch, and
// for space like Create. It fails with ErrFull or ErrShare if there is no space
// for more than declared, and with ErrPoisoned.
func (e *Entry) Write(p []byte) (int, error) {
	if e.err != nil {
		return 0, e.err
	}
	if e.err = e.extend(int64(len(p))); e.err == nil {
		e.err = e.appendPieces(p)
	}
	if e.err != nil {
		return 0, e.err
	}
	return len(p), nil
}

// extend reserves what n more bytes need beyond the reservation.
func (e *Entry) extend(n int64) error {
	s := e.spool
	s.mu.Lock()
	defer s.mu.Unlock()
	over := e.written + n - e.reservedShare
	if over <= 0 {
		return nil
	}
	return e.reserve(s.geometry.flashCost(e.reservedShare+over)-s.geometry.flashCost(e.reservedShare), over)
}

func (e *Entry) appendPieces(p []byte) error {
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

// submit passes a piece to the writer, and waits if the current group is full.
func (e *Entry) submit() error {
	s := e.spool
	s.mu.Lock()
	if err := s.checkWritable(); err != nil {
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
		<-g.closed
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
	e.buffer = e.spool.buffer(max(0, e.reservedShare-e.written))
}

func (e *Entry) add(g *group, r record) {
	n := int64(r.frameSize())
	g.add(r)
	e.spool.inFlight += n
	used := min(n, e.reservedFlash)
	e.reservedFlash -= used
	e.spool.reserved -= used
}

// groupResult returns the result for this entry of a completed group.
func (e *Entry) groupResult(g *group) error {
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

// Commit returns once the message is durable; from then on it is queued. If ctx
// ends first, the message is removed as soon as it is written.
func (e *Entry) Commit(ctx context.Context) (ID, error) {
	if e.err != nil {
		e.Abort()
		return 0, e.err
	}
	s := e.spool
	s.mu.Lock()
	if e.err = s.checkWritable(); e.err != nil {
		s.mu.Unlock()
		e.Abort()
		return 0, e.err
	}
	g := s.group
	e.addPiece(g)
	e.add(g, record{kind: endRecord, id: e.id, client: e.client, size: e.written - int64(e.envelope), index: e.pieces, envelope: uint32(e.envelope)})
	g.commits++
	e.submitted = true
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
		return 0, fmt.Errorf("waiting for the spool to flush: %w", ctx.Err())
	}
}

// finish ends the entry after its group is complete.
func (e *Entry) finish(g *group) (ID, error) {
	s := e.spool
	err := e.groupResult(g)
	s.mu.Lock()
	defer s.mu.Unlock()
	e.err = ErrNotFound
	e.releaseReservation()
	if e.message.state != open {
		return e.id, nil
	}
	s.index.drop(e.id)
	return 0, err
}

// Abort discards the message. Calling it again, or after Commit, does nothing.
func (e *Entry) Abort() {
	s := e.spool
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.submitted {
		return
	}
	s.index.drop(e.id)
	e.releaseReservation()
	e.buffer = nil
	if e.err == nil {
		e.err = ErrNotFound
	}
}

// releaseReservation releases the rest of the reservation. The caller holds mu.
func (e *Entry) releaseReservation() {
	s := e.spool
	s.reserved -= e.reservedFlash
	if s.index.clients[e.client] -= e.reservedShare; s.index.clients[e.client] == 0 {
		delete(s.index.clients, e.client)
	}
	e.reservedFlash, e.reservedShare = 0, 0
}
