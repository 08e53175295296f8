package spool

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Segments that stay free: messages leave two, notes one, so that one is always
// available for removals and compaction.
const (
	reserveForNotes    = 1
	reserveForMessages = 2
)

// tail is the write position.
type tail struct {
	segment int
	off     int64 // within the segment
	run     run
	begun   bool // the run's header is durable
	counter uint32
	epoch   uint64 // highest epoch ever used
	ready   *run   // the durable header of the next segment, if any
	buffer  []byte
}

// write is the writer goroutine, the only one that changes the flash.
func (s *Spool) write() {
	defer close(s.stopped)
	for range s.wake {
		for g := s.nextGroup(); g != nil; g = s.nextGroup() {
			s.completeGroup(g, s.writeRecords(g.records))
		}
		s.compact()
		if s.endRound() {
			return
		}
	}
}

// endRound ends a round and reports whether it was the last.
func (s *Spool) endRound() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.round)
	s.round, s.busy = make(chan struct{}), false
	if s.closing {
		s.group.err = ErrClosed
		close(s.group.closed)
		close(s.group.done)
		s.group = newGroup(s.geometry.batchSize)
	}
	return s.closing
}

// awaitRound waits until the writer has written the current group and
// compacted, or has ended a round that began before. The caller holds mu, which
// is released while waiting.
func (s *Spool) awaitRound() {
	round := s.round
	s.flushNow()
	s.mu.Unlock()
	<-round
	s.mu.Lock()
}

// nextGroup returns the current group and begins a new one, or returns nil if
// it is not due.
func (s *Spool) nextGroup() *group {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy = true
	s.awaitCommits()
	g := s.group
	if !g.due(1) {
		return nil
	}
	g.records = append(g.records, s.lazy.records()...)
	s.writing, s.group = g.records, newGroup(s.geometry.batchSize)
	close(g.closed)
	return g
}

// awaitCommits waits for the expected number of commits, or until none arrives
// for commitWait. The caller holds mu, which is released while waiting.
func (s *Spool) awaitCommits() {
	g := s.group
	if g.commits == 0 {
		return
	}
	for timedOut := false; !timedOut && !g.due(s.commits.expected); {
		before := g.commits
		s.mu.Unlock()
		select {
		case <-s.wake:
		case <-time.After(commitWait):
			timedOut = true
		}
		s.mu.Lock()
		timedOut = timedOut && g.commits == before
	}
	if !g.urgent && !g.full() {
		s.commits.observe(g.commits)
	}
}

func (s *Spool) completeGroup(g *group, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inFlight -= g.bytes
	s.writing = nil
	s.recycleBuffers(g.records)
	g.err, g.records = err, nil
	close(g.done)
}

// writeRecords writes records frame by frame, each durable before the next
// begins. ErrFull means that some found no space: records of messages are
// dropped, others are requeued.
func (s *Spool) writeRecords(records []record) error {
	var full error
	for {
		if records = s.dropAbandoned(records); len(records) == 0 {
			return full
		}
		if err := s.Poisoned(); err != nil {
			return err
		}
		n := s.fitCount(records)
		if n == 0 {
			err := s.advanceSegment(records[0].minFree())
			if errors.Is(err, ErrFull) {
				full = err
				s.requeue(&records[0])
				records = records[1:]
			} else if err != nil {
				return s.poisonWith(err)
			}
			continue
		}
		if err := s.writeFrame(records[:n]); err != nil {
			return s.poisonWith(err)
		}
		records = records[n:]
	}
}

func (r *record) minFree() int {
	switch r.kind {
	case removedRecord:
		return 0
	case noteRecord, memoRecord:
		return reserveForNotes
	}
	if r.moved {
		return 0
	}
	return reserveForMessages
}

// dropAbandoned omits the records of aborted messages.
func (s *Spool) dropAbandoned(records []record) []record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(records, func(r record) bool {
		return r.kind != memoRecord && s.index.messages[r.id] == nil
	})
}

// requeue keeps a note, a removal or a memo for which there was no space until later. A
// message is dropped, and its Commit fails.
func (s *Spool) requeue(r *record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.index.messages[r.id]
	switch r.kind {
	case removedRecord:
		s.lazy.removed[r.id] = struct{}{}
	case noteRecord:
		if _, newer := s.lazy.notes[r.id]; !newer && m.state == queued {
			s.lazy.notes[r.id] = r.data
		}
	case memoRecord:
		if s.lazy.memo == nil {
			s.lazy.memo = r.data
		}
	default:
		if m.state == open {
			s.index.drop(r.id)
		}
	}
}

// fitCount returns how many of the records fit one frame in the tail's segment.
func (s *Spool) fitCount(records []record) int {
	limit := s.geometry.segment - s.tail.off
	if !s.tail.begun {
		limit -= pageSize
	}
	size := frameOverhead
	for n := range records {
		size += records[n].frameSize()
		if int64(roundUp(size)) > limit {
			return n
		}
	}
	return len(records)
}

// writeFrame writes one frame and applies it to the index once it is durable.
func (s *Spool) writeFrame(records []record) error {
	if err := s.beginRun(); err != nil {
		return err
	}
	at := int64(s.tail.segment)*s.geometry.segment + s.tail.off
	data, pieces := s.keys.appendFrame(s.tail.buffer[:0], s.tail.run, at, s.tail.counter, records)
	s.tail.buffer = data
	if err := s.writeAt(data, at); err != nil {
		return err
	}
	next, err := s.prepareNextSegment()
	if err != nil {
		return err
	}
	if err := s.flush(); err != nil {
		return err
	}
	s.tail.ready = next
	s.tail.off += int64(len(data))
	s.tail.counter++
	s.mu.Lock()
	defer s.mu.Unlock()
	s.room = s.geometry.segment - s.tail.off
	for i := range records {
		if records[i].kind == pieceRecord {
			s.tail.counter++
		}
		s.index.apply(&records[i], at, i, pieces[i])
	}
	s.freeDeadSegments()
	return nil
}

// beginRun makes the header of the tail's run durable; nothing may be sealed
// under its epoch before.
func (s *Spool) beginRun() error {
	if s.tail.begun {
		return nil
	}
	r, err := s.newRun(s.tail.segment, s.tail.off)
	if err != nil {
		return err
	}
	if err := s.writeAt(s.keys.headerPage(s.geometry, r), r.at); err != nil {
		return err
	}
	if err := s.flush(); err != nil {
		return err
	}
	s.enterRun(r)
	return nil
}

// newRun returns a run with a salt that no run had before, so that nothing is
// sealed twice under a key and nonce even if the flash shows an old state again.
func (s *Spool) newRun(segment int, off int64) (run, error) {
	s.tail.epoch++
	salt := make([]byte, saltSize)
	if _, err := rand.Read(salt); err != nil {
		return run{}, fmt.Errorf("generating the salt of a run: %w", err)
	}
	aead, err := s.keys.aead(fastest(), salt)
	if err != nil {
		return run{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return run{
		at:    int64(segment)*s.geometry.segment + off,
		epoch: s.tail.epoch,
		suite: fastest(),
		next:  s.index.next,
		salt:  salt,
		aead:  aead,
	}, nil
}

// enterRun moves the tail behind the durable header of r.
func (s *Spool) enterRun(r run) {
	s.tail.off = r.at%s.geometry.segment + pageSize
	s.tail.run, s.tail.begun, s.tail.counter = r, true, 0
	s.mu.Lock()
	defer s.mu.Unlock()
	s.room = s.geometry.segment - s.tail.off
	if r.at%s.geometry.segment == 0 {
		s.runs[s.tail.segment] = nil
	}
	s.runs[s.tail.segment] = append(s.runs[s.tail.segment], r)
}

// prepareNextSegment writes the header of the next segment, if that is free and
// has none yet. The flush of the current frame makes it durable.
func (s *Spool) prepareNextSegment() (*run, error) {
	if s.tail.ready != nil || s.free() == 0 {
		return s.tail.ready, nil
	}
	r, err := s.newRun((s.tail.segment+1)%s.geometry.count, 0)
	if err != nil {
		return nil, err
	}
	return &r, s.writeAt(s.keys.headerPage(s.geometry, r), r.at)
}

// advanceSegment moves the tail to the next segment if more than minFree
// segments are free.
func (s *Spool) advanceSegment(minFree int) error {
	if s.free() <= minFree {
		return ErrFull
	}
	if s.tail.off < s.geometry.segment {
		// The next segment's header may have the highest epoch; it is not overwritten
		// before a higher one is durable here.
		if err := s.beginRun(); err != nil {
			return err
		}
	}
	next := (s.tail.segment + 1) % s.geometry.count
	ready := s.tail.ready
	s.tail.segment, s.tail.off, s.tail.begun, s.tail.ready = next, 0, false, nil
	s.mu.Lock()
	s.used++
	s.mu.Unlock()
	if ready == nil {
		return s.beginRun()
	}
	s.enterRun(*ready)
	return nil
}

func (s *Spool) free() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.geometry.count - s.used
}

func (s *Spool) writeAt(p []byte, at int64) error {
	if _, err := s.flash.WriteAt(p, at); err != nil {
		return fmt.Errorf("writing %d bytes at %d: %w", len(p), at, err)
	}
	return nil
}

func (s *Spool) flush() error {
	if err := s.flash.Flush(); err != nil {
		return fmt.Errorf("flushing: %w", err)
	}
	return nil
}

// poisonWith poisons the spool: after a failed write or flush the contents of
// the flash are unknown, so nothing more is acknowledged.
func (s *Spool) poisonWith(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.poison == nil {
		s.poison = fmt.Errorf("%w (%w)", ErrPoisoned, err)
	}
	return s.poison
}
