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

// SectorSize is the number of bytes that are written atomically.
const SectorSize = 512

// Always is an unlimited number of calls.
const Always = -1

// Counts counts the operations on the flash.
type Counts struct {
	Reads, Writes, Flushes int
	Bytes                  int64 // written
}

// Flash is a simulated disk that loses writes and fails like flash, determined by
// a seed. It is safe for concurrent use.
type Flash struct {
	mu      sync.Mutex
	durable []byte
	// pending holds the unflushed contents of each sector, oldest first.
	pending                       map[int64][][]byte
	failingWrites, failingFlushes int
	slow                          time.Duration // duration of each flush
	readOnly                      bool
	counts                        Counts
	random                        *rand.Rand
}

// NewFlash creates a flash of size bytes, a multiple of SectorSize, all zero.
func NewFlash(size int64, seed uint64) *Flash {
	return &Flash{
		durable: make([]byte, size/SectorSize*SectorSize),
		pending: map[int64][][]byte{},
		random:  rand.New(rand.NewPCG(seed, uint64(size))),
	}
}

// Size returns the size in bytes.
func (f *Flash) Size() int64 { return int64(len(f.durable)) }

// Counts returns the operations so far.
func (f *Flash) Counts() Counts {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counts
}

// FailWrites makes the next n writes fail with EIO; any of their sectors may have
// been written. 0 ends the fault.
func (f *Flash) FailWrites(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failingWrites = n
}

// FailFlushes makes the next n flushes and FUA writes fail with EIO; any of the
// unflushed sectors may have become durable. 0 ends the fault.
func (f *Flash) FailFlushes(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failingFlushes = n
}

// SlowFlushes sets the duration of each flush.
func (f *Flash) SlowFlushes(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.slow = d
}

// WearOut makes the flash permanently read-only, like a worn-out card: writes fail
// with EPERM.
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

// ReadAt implements [io.ReaderAt]. It returns writes that are not yet durable too.
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

// unflushed returns the unflushed sectors in a fixed order, so that a seed is
// reproducible.
func (f *Flash) unflushed() []int64 { return slices.Sorted(maps.Keys(f.pending)) }

// view returns the current content of a sector.
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

// spend decrements n and reports whether it was above 0.
func spend(n *int) bool {
	if *n > 0 {
		*n--
		return true
	}
	return *n == Always
}
