package spool

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Segments that stay free: messages leave two, notes one, so that there is
// always one for removals and for moving what is old.
const (
	reserveForNotes    = 1
	reserveForMessages = 2
)

// tail is where the next frame goes.
type tail struct {
	segment int
	off     int64 // within the segment
	run     run
	begun   bool // the run's header is durable
	counter uint32
	epoch   uint64 // the highest ever used
	ready   *run   // the header that lies durable in the next segment
	buffer  []byte
}

// write is the writer: the only one that changes the flash.
func (s *Spool) write() {
	defer close(s.stopped)
	for range s.wake {
		for g := s.take(); g != nil; g = s.take() {
			s.settle(g, s.put(g.records))
		}
		s.clean()
		if s.finished() {
			return
		}
	}
}

// finished ends a round, and tells whether it was the last.
func (s *Spool) finished() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.round)
	s.round, s.busy = make(chan struct{}), false
	if s.closing {
		s.group.err = ErrClosed
		close(s.group.taken)
		close(s.group.done)
		s.group = newGroup(s.geometry.gather)
	}
	return s.closing
}

// awaitRound waits until the writer has written what waits and cleaned up
// behind it, or has ended a round that had begun before. The caller holds mu,
// which is let go meanwhile.
func (s *Spool) awaitRound() {
	round := s.round
	s.flushNow()
	s.mu.Unlock()
	<-round
	s.mu.Lock()
}

// take begins a new group and gives the one before it, if that is due.
func (s *Spool) take() *group {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy = true
	s.awaitCompany()
	g := s.group
	if !g.due(1) {
		return nil
	}
	g.records = append(g.records, s.lazy.records()...)
	s.writing, s.group = g.records, newGroup(s.geometry.gather)
	close(g.taken)
	return g
}

// awaitCompany waits for as many commits as there may be, or until none comes
// for a while. The caller holds mu, which is let go meanwhile.
func (s *Spool) awaitCompany() {
	g := s.group
	if g.commits == 0 {
		return
	}
	for alone := false; !alone && !g.due(s.commits.expected); {
		before := g.commits
		s.mu.Unlock()
		select {
		case <-s.wake:
		case <-time.After(groupWait):
			alone = true
		}
		s.mu.Lock()
		alone = alone && g.commits == before
	}
	if !g.urgent && !g.full() {
		s.commits.observe(g.commits)
	}
}

func (s *Spool) settle(g *group, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flying -= g.bytes
	s.writing = nil
	s.keepBuffers(g.records)
	g.err, g.records = err, nil
	close(g.done)
}

// put writes records frame by frame, each durable before the next begins.
// ErrFull means that some found no room: those of messages are dropped, the
// others wait again.
func (s *Spool) put(records []record) error {
	var full error
	for {
		if records = s.wanted(records); len(records) == 0 {
			return full
		}
		if err := s.Poisoned(); err != nil {
			return err
		}
		n := s.fit(records)
		if n == 0 {
			err := s.advance(records[0].reserve())
			if errors.Is(err, ErrFull) {
				full = err
				s.postpone(&records[0])
				records = records[1:]
			} else if err != nil {
				return s.fail(err)
			}
			continue
		}
		if err := s.putFrame(records[:n]); err != nil {
			return s.fail(err)
		}
		records = records[n:]
	}
}

func (r *record) reserve() int {
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

// wanted leaves out the records of messages that were given up.
func (s *Spool) wanted(records []record) []record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(records, func(r record) bool {
		return r.kind != memoRecord && s.index.messages[r.id] == nil
	})
}

// postpone keeps what found no room: notes, removals and the memo for later.
// A message is given up, and its Commit tells.
func (s *Spool) postpone(r *record) {
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

// fit tells how many of the records one frame in the tail's segment can take.
func (s *Spool) fit(records []record) int {
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

// putFrame writes one frame and, when it is durable, takes it into the index.
func (s *Spool) putFrame(records []record) error {
	if err := s.begin(); err != nil {
		return err
	}
	at := int64(s.tail.segment)*s.geometry.segment + s.tail.off
	data, pieces := s.keys.appendFrame(s.tail.buffer[:0], s.tail.run, at, s.tail.counter, records)
	s.tail.buffer = data
	if err := s.writeAt(data, at); err != nil {
		return err
	}
	next, err := s.prepare()
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
	s.dropDead()
	return nil
}

// begin makes the header of the tail's run durable: before that, nothing may
// be sealed under its epoch.
func (s *Spool) begin() error {
	if s.tail.begun {
		return nil
	}
	r := s.newRun(s.tail.segment, s.tail.off)
	if err := s.writeAt(s.keys.headerPage(s.geometry, r), r.at); err != nil {
		return err
	}
	if err := s.flush(); err != nil {
		return err
	}
	s.enter(r)
	return nil
}

func (s *Spool) newRun(segment int, off int64) run {
	s.tail.epoch++
	s.mu.Lock()
	defer s.mu.Unlock()
	return run{
		at:    int64(segment)*s.geometry.segment + off,
		epoch: s.tail.epoch,
		suite: fastest(),
		next:  s.index.next,
	}
}

// enter goes on behind a durable header.
func (s *Spool) enter(r run) {
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

// prepare writes the header of the next segment, if that is free and has none
// yet, so that the flush of a frame makes it durable too.
func (s *Spool) prepare() (*run, error) {
	if s.tail.ready != nil || s.free() == 0 {
		return s.tail.ready, nil
	}
	r := s.newRun((s.tail.segment+1)%s.geometry.count, 0)
	return &r, s.writeAt(s.keys.headerPage(s.geometry, r), r.at)
}

// advance goes on to the next segment if more than reserve are free.
func (s *Spool) advance(reserve int) error {
	if s.free() <= reserve {
		return ErrFull
	}
	if s.tail.off < s.geometry.segment {
		// The next segment's header may show the highest epoch; it is not
		// overwritten before a higher one is durable here.
		if err := s.begin(); err != nil {
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
		return s.begin()
	}
	s.enter(*ready)
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

// fail poisons the spool: after a failed write or flush nothing is known of
// what the flash holds, so nothing more is promised.
func (s *Spool) fail(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.poison == nil {
		s.poison = fmt.Errorf("%w (%w)", ErrPoisoned, err)
	}
	return s.poison
}
