// Package simflash simulates a Flash in memory that loses, tears and fails writes as
// real flash does. A seed makes its faults reproducible.
//
// It simulates the worst case of hal.Flash. It knows sectors, versions and results,
// and must not know what is stored on it.
package simflash

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"

	"sealpost/hal"
)

// SectorSize is the unit that a power cut does not tear, in bytes.
const SectorSize = 512

var (
	// ErrPowerCut is the error of the call during which the power was cut, and
	// of every one after it.
	ErrPowerCut = errors.New("simulated power cut")
	// ErrIO is the error of a call that fails on a test's request.
	ErrIO = errors.New("simulated input/output error")
	// ErrNoSpace is the error of a call that found no space. It is ENOSPC.
	ErrNoSpace = fmt.Errorf("simulated: %w", syscall.ENOSPC)
)

// Outcome is the result of one write or flush.
type Outcome int

// The outcomes.
const (
	// Done does the complete write or flush.
	Done Outcome = iota
	// Cut loses power while the call runs.
	Cut
	// Failed returns ErrIO, and any part of the work may have been done.
	Failed
	// Short writes the first half and returns ErrIO; a flush fails instead.
	Short
	// NoSpace returns ErrNoSpace. A write has written some of its first sectors; a
	// flush has written any sectors, as on a medium that allocates space late.
	NoSpace
	// Lost makes a flush return nil although nothing is durable. A write is done.
	Lost
)

type sector [SectorSize]byte

// blank is every sector that was never written.
var blank sector

// Flash is a simulated disk. It is safe for concurrent use.
type Flash struct {
	size int64

	mu sync.Mutex
	// parent is the dead flash whose durable sectors this one inherits.
	parent  *Flash
	durable map[int64]*sector
	// pending holds, oldest first, what was written to a sector and not flushed.
	pending map[int64][]*sector
	// ghosts are sectors that a failed flush dropped but the page cache shows.
	ghosts   map[int64]*sector
	outcomes map[int]Outcome
	bad      map[int64]bool
	counts   Counts
	dead     bool
	seed     uint64
	random   *rand.Rand
}

var _ hal.Flash = (*Flash)(nil)

// Counts are the numbers of calls and bytes.
type Counts struct {
	Writes, Flushes int
	Bytes           int64 // written
}

// New returns a flash of size bytes, all zero and durable.
func New(size int64, seed uint64) *Flash {
	return &Flash{
		size:     size,
		durable:  map[int64]*sector{},
		pending:  map[int64][]*sector{},
		ghosts:   map[int64]*sector{},
		outcomes: map[int]Outcome{},
		bad:      map[int64]bool{},
		seed:     seed,
		random:   rand.New(rand.NewPCG(seed, uint64(size))),
	}
}

// At sets the result of one call. Writes and flushes are counted together, from 1.
func (f *Flash) At(call int, outcome Outcome) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.outcomes[call] = outcome
}

// Counts returns the number of calls so far; Writes plus Flushes is
// the number of the last call, as in At.
func (f *Flash) Counts() Counts {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counts
}

// FailReads makes every read that touches these bytes fail with ErrIO.
func (f *Flash) FailReads(off, length int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for n := off / SectorSize; n*SectorSize < off+length; n++ {
		f.bad[n] = true
	}
}

// FlipBit durably flips one stored bit.
func (f *Flash) FlipBit(bit int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := bit / 8 / SectorSize
	damaged := *f.view(n)
	damaged[bit/8%SectorSize] ^= 1 << (bit % 8)
	f.durable[n] = &damaged
	delete(f.pending, n)
	delete(f.ghosts, n)
}

// Size implements [hal.Flash].
func (f *Flash) Size() int64 { return f.size }

// ReadAt implements [hal.Flash]; it sees writes that are not yet durable.
func (f *Flash) ReadAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		return 0, ErrPowerCut
	}
	if err := f.checkBounds(p, off); err != nil {
		return 0, err
	}
	for n := 0; n < len(p); {
		at := off + int64(n)
		if f.bad[at/SectorSize] {
			return n, fmt.Errorf("reading sector %d: %w", at/SectorSize, ErrIO)
		}
		n += copy(p[n:], f.view(at / SectorSize)[at%SectorSize:])
	}
	return len(p), nil
}

// WriteAt implements [hal.Flash].
func (f *Flash) WriteAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		return 0, ErrPowerCut
	}
	if err := f.checkBounds(p, off); err != nil {
		return 0, err
	}
	f.counts.Writes++
	f.counts.Bytes += int64(len(p))
	switch outcome := f.outcome(); outcome {
	case Cut:
		f.write(p, off, func() bool { return true })
		f.dead = true
		return 0, ErrPowerCut
	case Failed:
		f.write(p, off, f.coin)
		return 0, ErrIO
	case Short:
		f.write(p[:len(p)/2], off, func() bool { return true })
		return len(p) / 2, ErrIO
	case NoSpace:
		n := f.random.IntN(len(p)/SectorSize+1) * SectorSize
		f.write(p[:n], off, func() bool { return true })
		return n, ErrNoSpace
	}
	f.write(p, off, func() bool { return true })
	return len(p), nil
}

// Flush implements [hal.Flash].
func (f *Flash) Flush() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		return ErrPowerCut
	}
	f.counts.Flushes++
	switch f.outcome() {
	case Cut:
		f.dead = true
		return ErrPowerCut
	case Failed, Short:
		f.failFlush()
		return ErrIO
	case NoSpace:
		f.failFlush()
		return ErrNoSpace
	case Lost:
		return nil
	}
	for n, versions := range f.pending {
		f.durable[n] = versions[len(versions)-1]
	}
	clear(f.pending)
	return nil
}

// failFlush treats each pending sector as Linux may: it is written, or lost, or lost
// but still shown by the page cache as if it had been written.
func (f *Flash) failFlush() {
	for _, n := range slices.Sorted(maps.Keys(f.pending)) {
		versions := f.pending[n]
		last := versions[len(versions)-1]
		switch f.random.IntN(3) {
		case 0:
			f.durable[n] = last
		case 1:
			f.ghosts[n] = last
		}
	}
	clear(f.pending)
}

func (f *Flash) outcome() Outcome { return f.outcomes[f.counts.Writes+f.counts.Flushes] }

func (f *Flash) coin() bool { return f.random.IntN(2) == 0 }

func (f *Flash) checkBounds(p []byte, off int64) error {
	if off < 0 || off > f.size-int64(len(p)) {
		return fmt.Errorf("%d bytes at %d of %d: %w", len(p), off, f.size, io.ErrUnexpectedEOF)
	}
	return nil
}

// view returns the sector that a read returns.
func (f *Flash) view(n int64) *sector {
	if versions := f.pending[n]; len(versions) > 0 {
		return versions[len(versions)-1]
	}
	if ghost := f.ghosts[n]; ghost != nil {
		return ghost
	}
	return f.stored(n)
}

// stored returns the sector on the medium.
func (f *Flash) stored(n int64) *sector {
	for ; f != nil; f = f.parent {
		if s := f.durable[n]; s != nil {
			return s
		}
	}
	return &blank
}

// write adds a new pending version to each sector of p for which reaches returns true.
func (f *Flash) write(p []byte, off int64, reaches func() bool) {
	for n := 0; n < len(p); {
		at := off + int64(n)
		version := *f.view(at / SectorSize)
		n += copy(version[at%SectorSize:], p[n:])
		if reaches() {
			f.pending[at/SectorSize] = append(f.pending[at/SectorSize], &version)
			delete(f.ghosts, at/SectorSize)
		}
	}
}
