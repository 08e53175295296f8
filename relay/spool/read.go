package spool

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
)

// Message is the part of a message that is known without reading it.
type Message struct {
	ID      ID
	Client  uint64
	Size    int64 // bytes of content
	Noted   bool  // it has a note
	Damaged bool  // it can only be removed
}

// Messages returns the messages queued at the time of the call, in the order in
// which they were created.
func (s *Spool) Messages() iter.Seq[Message] {
	return func(yield func(Message) bool) {
		s.mu.Lock()
		ids := slices.Sorted(maps.Keys(s.index.messages))
		s.mu.Unlock()
		for _, id := range ids {
			if m, err := s.Message(id); err == nil && !yield(m) {
				return
			}
		}
	}
}

// Message returns one message, or ErrNotFound.
func (s *Spool) Message(id ID) (Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.index.messages[id]
	if m == nil || m.state != queued {
		return Message{}, ErrNotFound
	}
	noted := m.noteAt != 0 || s.lazy.notes[id] != nil || pendingNote(s.writing, id) != nil
	return Message{id, m.client, m.size, noted, m.damaged}, nil
}

// pendingNote returns the note of a message among records being written.
func pendingNote(records []record, id ID) []byte {
	for i := len(records) - 1; i >= 0; i-- {
		if records[i].kind == noteRecord && records[i].id == id {
			return records[i].data
		}
	}
	return nil
}

// piece returns the current location of a piece and the run it was sealed in.
func (s *Spool) piece(id ID, index uint32) (ref, run, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.index.messages[id]
	if m == nil || m.state == removed {
		return ref{}, run{}, ErrNotFound
	}
	if m.damaged {
		return ref{}, run{}, ErrDamaged
	}
	r := m.piece(index)
	return r, s.runAt(r.at), nil
}

// runAt returns the run that contains the given offset. The caller holds mu.
func (s *Spool) runAt(at int64) run {
	found := run{}
	for _, r := range s.runs[s.index.segmentOf(at)] {
		if r.at <= at {
			found = r
		}
	}
	return found
}

// readPiece reads and authenticates a piece, into b if that is large enough. If
// the piece is moved meanwhile, it is read at its new location.
func (s *Spool) readPiece(id ID, index uint32, b []byte) ([]byte, error) {
	location, r, err := s.piece(id, index)
	for err == nil {
		var plain []byte
		if plain, err = s.unsealAt(location, r, pieceAAD(location.at, id, index), b); err == nil {
			return plain, nil
		}
		current, currentRun, locateErr := s.piece(id, index)
		if locateErr != nil {
			return nil, locateErr
		}
		if current == location {
			return nil, fmt.Errorf("reading %d bytes at %d: %w", location.length, location.at, err)
		}
		location, r, err = current, currentRun, nil
	}
	return nil, err
}

func (s *Spool) unsealAt(location ref, r run, data, b []byte) ([]byte, error) {
	if location.at == 0 || r.aead == nil {
		return nil, errAuthentication
	}
	sealed := slices.Grow(b[:0], location.sealed())[:location.sealed()]
	if _, err := s.flash.ReadAt(sealed, location.at); err != nil {
		return nil, err
	}
	return r.unseal(location.counter, sealed, data)
}

// maxDamage is how many damage reports are kept.
const maxDamage = 1000

// markDamaged marks a message as damaged and records the reason.
func (s *Spool) markDamaged(id ID, reason error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.index.messages[id]
	if m == nil || m.damaged {
		return
	}
	m.damaged = true
	if len(s.damage) < maxDamage {
		s.damage = append(s.damage, Damage{ID: id, At: m.first.at, Reason: reason.Error()})
	}
}

// Damages returns the damage found by Open and since.
func (s *Spool) Damages() []Damage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.damage)
}

// Content reads a message's content. All bytes returned are authenticated; if
// authentication fails, the message is marked as damaged and the reader returns
// ErrDamaged.
func (s *Spool) Content(id ID) (io.ReadCloser, error) {
	return s.openReader(id, func(m *message) (skip, size int64) { return int64(m.envelope), m.size })
}

// Envelope returns the envelope passed to Create.
func (s *Spool) Envelope(id ID) ([]byte, error) {
	r, err := s.openReader(id, func(m *message) (skip, size int64) { return 0, int64(m.envelope) })
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

func (s *Spool) openReader(id ID, part func(*message) (skip, size int64)) (*reader, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.index.messages[id]
	switch {
	case m == nil || m.state != queued:
		return nil, ErrNotFound
	case m.damaged:
		return nil, ErrDamaged
	}
	r := &reader{spool: s, id: id}
	r.skip, r.left = part(m)
	return r, nil
}

// reader reads a message piece by piece.
type reader struct {
	spool  *Spool
	id     ID
	next   uint32
	skip   int64 // bytes before the wanted part
	left   int64 // unread bytes of that part
	buffer []byte
	plain  []byte // unread part of buffer
	err    error
}

func (r *reader) Read(p []byte) (int, error) {
	for r.err == nil && r.left > 0 && len(r.plain) == 0 {
		r.err = r.fill()
	}
	if r.err != nil {
		return 0, r.err
	}
	if r.left == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.plain[:min(int64(len(r.plain)), r.left)])
	r.plain = r.plain[n:]
	r.left -= int64(n)
	return n, nil
}

func (r *reader) fill() error {
	plain, err := r.spool.readPiece(r.id, r.next, r.buffer)
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrDamaged) {
		return err
	}
	if err != nil {
		r.spool.markDamaged(r.id, err)
		return fmt.Errorf("%w (%w)", ErrDamaged, err)
	}
	r.next++
	r.buffer = plain
	cut := min(r.skip, int64(len(plain)))
	r.skip -= cut
	r.plain = plain[cut:]
	return nil
}

// Close implements [io.Closer].
func (r *reader) Close() error {
	r.err, r.plain, r.buffer = io.ErrClosedPipe, nil, nil
	return nil
}

// NoteOf returns the newest note of a message, or nil.
func (s *Spool) NoteOf(id ID) ([]byte, error) {
	for {
		s.mu.Lock()
		m := s.index.messages[id]
		if m == nil || m.state != queued {
			s.mu.Unlock()
			return nil, ErrNotFound
		}
		note := s.lazy.notes[id]
		if note == nil {
			note = pendingNote(s.writing, id)
		}
		at, nth := m.noteAt, int(m.noteIndex)
		r := s.runAt(at)
		s.mu.Unlock()
		if note != nil || at == 0 {
			return slices.Clone(note), nil
		}
		if note, err := s.readNoteAt(at, nth, r); err == nil {
			return note, nil
		} else if !s.noteMoved(id, at) {
			return nil, fmt.Errorf("reading the note of message %d: %w", id, err)
		}
	}
}

func (s *Spool) noteMoved(id ID, at int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.index.messages[id]
	return m == nil || m.noteAt != at
}

// readNoteAt reads a note from its frame's manifest, from the second copy if
// the first is damaged.
func (s *Spool) readNoteAt(at int64, nth int, r run) ([]byte, error) {
	prefix := make([]byte, prefixSize)
	if _, err := s.flash.ReadAt(prefix, at); err != nil {
		return nil, err
	}
	left := s.geometry.segment - at%s.geometry.segment
	f, ok := parsePrefix(prefix, at, r)
	if ok = ok && int64(f.size) <= left; ok {
		sealed := make([]byte, f.manifest)
		if _, err := s.flash.ReadAt(sealed, at+prefixSize); err != nil {
			return nil, err
		}
		ok = s.keys.unsealManifest(&f, prefix, sealed)
	}
	if !ok {
		rest := make([]byte, left)
		if _, err := s.flash.ReadAt(rest, at); err != nil {
			return nil, err
		}
		f, ok = s.keys.readFrame(rest, at, 0, r)
	}
	if !ok || nth >= len(f.records) || f.records[nth].kind != noteRecord {
		return nil, errAuthentication
	}
	return f.records[nth].data, nil
}
