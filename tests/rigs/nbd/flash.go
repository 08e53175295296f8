package nbd

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"time"
)

// SectorSize is what survives a power cut whole or not at all, in bytes.
const SectorSize = 512

// Always is a number of calls that never runs out.
const Always = -1

// Counts is what the flash was asked to do.
type Counts struct {
	Reads, Writes, Flushes int
	Bytes                  int64 // written
}

// Flash is the memory of a disk that forgets and fails as flash does, decided
// by a seed. It is safe for concurrent use.
type Flash struct {
	mu      sync.Mutex
	durable []byte
	// pending holds, oldest first, what was written to a sector and not flushed.
	pending                       map[int64][][]byte
	failingWrites, failingFlushes int
	slow                          time.Duration // which each flush takes
	readOnly                      bool
	counts                        Counts
	random                        *rand.Rand
}

// NewFlash makes a flash of size bytes, a multiple of SectorSize, all zero.
func NewFlash(size int64, seed uint64) *Flash {
	return &Flash{
		durable: make([]byte, size/SectorSize*SectorSize),
		pending: map[int64][][]byte{},
		random:  rand.New(rand.NewPCG(seed, uint64(size))),
	}
}

// Size is the size in bytes.
func (f *Flash) Size() int64 { return int64(len(f.durable)) }

// Counts tells what the flash was asked to do so far.
func (f *Flash) Counts() Counts {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counts
}

// FailWrites lets the next n writes fail with EIO; any of their sectors may
// have been written. 0 ends the failing.
func (f *Flash) FailWrites(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failingWrites = n
}

// FailFlushes lets the next n flushes fail with EIO, and writes that are to be
// durable at once; any of the unflushed sectors may have become durable. 0 ends
// the failing.
func (f *Flash) FailFlushes(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failingFlushes = n
}

// SlowFlushes has each flush take this long.
func (f *Flash) SlowFlushes(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.slow = d
}

// WearOut makes the flash read-only for good, as a card does at the end of its
// life: writes fail with EPERM.
func (f *Flash) WearOut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.readOnly = true
}

// Cut cuts the power: each sector keeps its durable content or that of any
// write since the last flush.
func (f *Flash) Cut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range f.unflushed() {
		versions := f.pending[n]
		if chosen := f.random.IntN(len(versions) + 1); chosen > 0 {
			f.store(n, versions[chosen-1])
		}
	}
	clear(f.pending)
}

// ReadAt implements [io.ReaderAt]; it sees writes that are not yet durable.
func (f *Flash) ReadAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.check(p, off); err != nil {
		return 0, err
	}
	f.counts.Reads++
	for n := 0; n < len(p); {
		at := off + int64(n)
		n += copy(p[n:], f.view(at / SectorSize)[at%SectorSize:])
	}
	return len(p), nil
}

// WriteAt implements [io.WriterAt]. What it writes is durable after a flush.
func (f *Flash) WriteAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.check(p, off); err != nil {
		return 0, err
	}
	f.counts.Writes++
	f.counts.Bytes += int64(len(p))
	if f.readOnly {
		return 0, syscall.EPERM
	}
	fails := spend(&f.failingWrites)
	for n := 0; n < len(p); {
		at := off + int64(n)
		version := slices.Clone(f.view(at / SectorSize))
		n += copy(version[at%SectorSize:], p[n:])
		if !fails || f.coin() {
			f.pending[at/SectorSize] = append(f.pending[at/SectorSize], version)
		}
	}
	if fails {
		return 0, syscall.EIO
	}
	return len(p), nil
}

// Flush makes every earlier write durable.
func (f *Flash) Flush() error { return f.flush(0, f.Size()) }

// flush makes the earlier writes to these bytes durable.
func (f *Flash) flush(off, length int64) error {
	f.mu.Lock()
	slow := f.slow
	f.mu.Unlock()
	time.Sleep(slow)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts.Flushes++
	fails := spend(&f.failingFlushes)
	for _, n := range f.unflushed() {
		if within := n*SectorSize < off+length && (n+1)*SectorSize > off; !within || fails && f.coin() {
			continue
		}
		versions := f.pending[n]
		f.store(n, versions[len(versions)-1])
		delete(f.pending, n)
	}
	if fails {
		return syscall.EIO
	}
	return nil
}

// unflushed lists sectors in a fixed order, so that a seed decides their fate.
func (f *Flash) unflushed() []int64 { return slices.Sorted(maps.Keys(f.pending)) }

// view is the sector as a reader sees it.
func (f *Flash) view(n int64) []byte {
	if versions := f.pending[n]; len(versions) > 0 {
		return versions[len(versions)-1]
	}
	return f.durable[n*SectorSize : (n+1)*SectorSize]
}

func (f *Flash) store(n int64, content []byte) { copy(f.durable[n*SectorSize:], content) }

func (f *Flash) coin() bool { return f.random.IntN(2) == 0 }

func (f *Flash) check(p []byte, off int64) error {
	if off < 0 || off > f.Size()-int64(len(p)) {
		return fmt.Errorf("%d bytes at %d of %d: %w", len(p), off, f.Size(), syscall.EINVAL)
	}
	return nil
}

// spend takes one of n, and tells whether there was one.
func spend(n *int) bool {
	if *n > 0 {
		*n--
		return true
	}
	return *n == Always
}
