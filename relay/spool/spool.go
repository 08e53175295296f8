// Package spool keeps messages on a fixed piece of flash: a ring of segments,
// written in order, in which nothing that was committed is lost to a power cut.
//
// It knows bytes and sequence numbers. It must not know SMTP, TLS, addresses
// or why a message is kept. FORMAT.md beside it tells the layout and argues
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

// ID numbers the messages in the order they were begun. It is never used twice.
type ID uint64

// What the spool may answer, beside the errors of the flash.
var (
	ErrFull     = errors.New("the spool is full: it takes mail again when some of what it holds is delivered; check the upstream")
	ErrShare    = errors.New("this client has used up its share of the spool: its mail is taken again when some of it is delivered")
	ErrPoisoned = errors.New("the spool's flash failed and nothing more is written to it: restart the box, and replace the flash if it happens again")
	ErrKey      = fault.New(fault.SpoolOtherTPM, "the spool was written under another TPM or key: put the storage back into the box it came from")
	ErrForeign  = fault.New(fault.SpoolForeign, "what lies behind the settings in the state is no spool of this version")
	ErrNotFound = errors.New("the spool holds no such message: it was delivered or given up")
	ErrDamaged  = errors.New("the message is damaged on flash and was set aside: ask its sender to send it again, then remove it")
	ErrTooLong  = errors.New("the spool does not take an envelope, note or memo of this length: send to fewer recipients at a time")
	ErrClosed   = errors.New("the spool is closed: start the relay again")
)

// Limits of what rides along with a message, in bytes.
const (
	MaxEnvelope = 1 << 20
	MaxNote     = 4096
	MaxMemo     = 4096
)

// A note, a removal or a memo waits for others on its way to flash until it
// has waited for LazyDelay or there are LazyRemovals removals.
const (
	LazyDelay    = 2 * time.Second
	LazyRemovals = 64
)

// Limits bounds what one client may take.
type Limits struct {
	Share int64 // bytes of envelope and content; 0 is the whole ring
}

// Spool is safe for concurrent use.
type Spool struct {
	flash    hal.Flash
	keys     *keys
	geometry geometry
	limits   Limits

	wake    chan struct{}
	stopped chan struct{}
	tail    tail // of the writer alone once it runs

	// mu is never held while flash is read or written.
	mu       sync.Mutex
	round    chan struct{} // closed when the writer has written and cleaned up
	busy     bool          // the writer is in a round
	index    *index
	head     int // the oldest segment in use
	used     int // segments in use, the tail's among them
	runs     [][]run
	group    *group
	commits  groupCommit
	spare    [][]byte // buffers of whole pieces, to be used again
	lazy     lazy
	writing  []record // on their way to flash
	promised int64    // bytes that open entries may still write
	flying   int64    // bytes handed to the writer and not yet on flash
	room     int64    // bytes left in the tail's segment
	damage   []Damage
	poison   error
	closing  bool
}

// Open recovers the ring on flash, or formats a region that is all zeros. The
// key has KeySize bytes. It fails with ErrKey or ErrForeign, leaving the
// region as it was, where the ring is not one it can read.
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
		group:    newGroup(g.gather),
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

// Close makes what waits durable and stops the writer. Entries that are not
// committed are lost.
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

// Poisoned is nil, or ErrPoisoned with its reason.
func (s *Spool) Poisoned() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.poison
}

// usable is nil while something can be written. The caller holds mu.
func (s *Spool) usable() error {
	if s.poison != nil {
		return s.poison
	}
	if s.closing {
		return ErrClosed
	}
	return nil
}

// flushNow has the group written as it is. The caller holds mu.
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

// Note keeps a few bytes with a message, in place of those kept before. They
// are durable with the next batch, after LazyDelay at the latest, or when Sync
// returns.
func (s *Spool) Note(id ID, note []byte) error {
	if len(note) > MaxNote {
		return fmt.Errorf("a note of %d bytes: %w", len(note), ErrTooLong)
	}
	return s.later(func() error {
		m := s.index.messages[id]
		if m == nil || m.state != queued {
			return ErrNotFound
		}
		s.lazy.notes[id] = append([]byte{}, note...)
		return nil
	})
}

// Remove ends a message's life at once; it stays so after a power cut once the
// next batch is written, after LazyDelay or LazyRemovals at the latest, or when
// Sync returns.
func (s *Spool) Remove(id ID) error {
	return s.later(func() error {
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

// SetMemo keeps a few bytes for the whole ring, as Note does for a message.
func (s *Spool) SetMemo(memo []byte) error {
	if len(memo) > MaxMemo {
		return fmt.Errorf("a memo of %d bytes: %w", len(memo), ErrTooLong)
	}
	return s.later(func() error {
		s.lazy.memo = append([]byte{}, memo...)
		return nil
	})
}

// Memo is the newest memo; nil where none was ever set.
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

func (s *Spool) later(do func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(); err != nil {
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

// Sync returns once every note, removal and memo before it is durable.
func (s *Spool) Sync(ctx context.Context) error {
	s.mu.Lock()
	if err := s.usable(); err != nil {
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
		return fmt.Errorf("waiting for the spool's flash: %w", ctx.Err())
	}
}
