// Package spool stores messages on a fixed region of flash: a ring of segments,
// written in order, that loses no committed data in a power cut.
//
// It knows bytes and sequence numbers. It must not know SMTP, TLS, addresses or
// why a message is queued. FORMAT.md describes the layout and the reason for
// each rule.
package spool

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"sealpost/hal"
	"sealpost/hal/fault"
)

// ID numbers the messages in the order of creation. It is never reused.
type ID uint64

// Errors of the spool, in addition to those of the flash.
var (
	ErrFull     = errors.New("the spool is full: it accepts mail again once queued mail is delivered; check the upstream")
	ErrShare    = errors.New("this client has used up its share of the spool: its mail is accepted again once some of it is delivered")
	ErrPoisoned = errors.New("the spool's flash failed and nothing more is written to it: restart the box, and replace the flash if it happens again")
	ErrKey      = fault.New(fault.SpoolOtherTPM, "the spool was written under another TPM or key: put the storage back into the box it came from")
	ErrForeign  = fault.New(fault.SpoolForeign, "the area behind the settings in the state contains no spool of this version")
	ErrNotFound = errors.New("no such message in the spool: it was delivered or given up, or the ID is wrong")
	ErrDamaged  = errors.New("the message is damaged on flash: ask its sender to send it again, then remove it")
	ErrTooLong  = errors.New("the envelope, note or memo is too long for the spool: send to fewer recipients at a time")
	ErrClosed   = errors.New("the spool is closed: start the relay again")
)

// Maximum lengths, in bytes.
const (
	MaxEnvelope = 1 << 20
	MaxNote     = 4096
	MaxMemo     = 4096
)

// Notes, removals and memos are written in batches: after LazyDelay, or once
// there are LazyRemovals removals.
const (
	LazyDelay    = 2 * time.Second
	LazyRemovals = 64
)

// Limits limits what one client may use.
type Limits struct {
	// Share is bytes of envelope and content. Besides, a client may use no more than
	// 5/4 of what is free, so that several together do not fill the ring either. 0
	// means no limit.
	Share int64
}

// Spool is a spool on flash. It is safe for concurrent use.
type Spool struct {
	flash    hal.Flash
	keys     *keys
	geometry geometry
	limits   Limits

	wake    chan struct{}
	stopped chan struct{}
	tail    tail // owned by the writer once it runs

	// mu is never held while flash is read or written.
	mu          sync.Mutex
	round       chan struct{} // closed when the writer has written and compacted
	busy        bool          // the writer is in a round
	index       *index
	head        int // the oldest segment in use
	used        int // segments in use, including the tail's
	runs        [][]run
	group       *group
	commits     groupCommit
	freeBuffers [][]byte // buffers of full pieces for reuse
	lazy        lazy
	writing     []record // being written
	reserved    int64    // bytes reserved for open entries
	inFlight    int64    // bytes passed to the writer and not yet on flash
	room        int64    // bytes left in the tail's segment
	damage      []Damage
	poison      error
	closing     bool
}

// Open recovers the ring on flash, or formats a region that is all zeros. key
// has KeySize bytes. If the ring cannot be read, it fails with ErrKey or
// ErrForeign and leaves the region unchanged.
func Open(flash hal.Flash, key []byte, limits Limits) (*Spool, Recovery, error) {
	k, err := newKeys(key)
	if err != nil {
		return nil, Recovery{}, err
	}
	return openWith(flash, k, limits)
}

func openWith(flash hal.Flash, k *keys, limits Limits) (*Spool, Recovery, error) {
	g, err := geometryOf(flash.Size())
	if err != nil {
		return nil, Recovery{}, err
	}
	s := &Spool{
		flash:    flash,
		keys:     k,
		geometry: g,
		limits:   limits,
		wake:     make(chan struct{}, 1),
		round:    make(chan struct{}),
		stopped:  make(chan struct{}),
		index:    newIndex(g),
		runs:     make([][]run, g.count),
		group:    newGroup(g.batchSize),
		commits:  groupCommit{expected: 1},
		lazy:     newLazy(),
	}
	recovery, err := s.recover()
	if err != nil {
		return nil, recovery, err
	}
	go s.write()
	return s, recovery, nil
}

// Close flushes pending updates and stops the writer. Uncommitted entries are
// lost.
func (s *Spool) Close() error {
	err := s.Sync(context.Background())
	s.mu.Lock()
	s.closing = true
	s.lazy.stop()
	s.mu.Unlock()
	s.kick()
	<-s.stopped
	if errors.Is(err, ErrClosed) {
		return nil
	}
	return err
}

// Poisoned returns ErrPoisoned with its cause after a failed write, else nil.
func (s *Spool) Poisoned() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.poison
}

// checkWritable returns an error if the spool is poisoned or closed. The caller
// holds mu.
func (s *Spool) checkWritable() error {
	if s.poison != nil {
		return s.poison
	}
	if s.closing {
		return ErrClosed
	}
	return nil
}

// flushNow makes the writer write the current group at once. The caller holds
// mu.
func (s *Spool) flushNow() {
	s.group.urgent = true
	s.kick()
}

func (s *Spool) kick() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Note stores a few bytes with a message, replacing the previous note. They are
// durable with the next batch, after LazyDelay at the latest, or when Sync
// returns.
func (s *Spool) Note(id ID, note []byte) error {
	if len(note) > MaxNote {
		return fmt.Errorf("note of %d bytes: %w", len(note), ErrTooLong)
	}
	return s.updateLazily(func() error {
		m := s.index.messages[id]
		if m == nil || m.state != queued {
			return ErrNotFound
		}
		s.lazy.notes[id] = append([]byte{}, note...)
		return nil
	})
}

// Remove removes a message. It is durable with the next batch, after LazyDelay
// or LazyRemovals at the latest, or when Sync returns.
func (s *Spool) Remove(id ID) error {
	return s.updateLazily(func() error {
		m := s.index.messages[id]
		if m == nil || m.state != queued {
			return ErrNotFound
		}
		m.state = removed
		delete(s.lazy.notes, id)
		s.lazy.removed[id] = struct{}{}
		return nil
	})
}

// SetMemo stores a few bytes for the whole ring, as Note does for a message.
func (s *Spool) SetMemo(memo []byte) error {
	if len(memo) > MaxMemo {
		return fmt.Errorf("memo of %d bytes: %w", len(memo), ErrTooLong)
	}
	return s.updateLazily(func() error {
		s.lazy.memo = append([]byte{}, memo...)
		return nil
	})
}

// Memo returns the newest memo, or nil if none was ever set.
func (s *Spool) Memo() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lazy.memo != nil {
		return append([]byte{}, s.lazy.memo...)
	}
	if s.index.memo == nil {
		return nil
	}
	return append([]byte{}, s.index.memo...)
}

func (s *Spool) updateLazily(do func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.checkWritable(); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	if len(s.lazy.removed) >= LazyRemovals {
		s.flushNow()
	} else {
		s.lazy.arm(func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.flushNow()
		})
	}
	return nil
}

// Sync returns once all earlier notes, removals and memos are durable.
func (s *Spool) Sync(ctx context.Context) error {
	s.mu.Lock()
	if err := s.checkWritable(); err != nil {
		s.mu.Unlock()
		return err
	}
	g := s.group
	s.flushNow()
	s.mu.Unlock()
	select {
	case <-g.done:
		return g.err
	case <-ctx.Done():
		return fmt.Errorf("waiting for the spool to flush: %w", ctx.Err())
	}
}
