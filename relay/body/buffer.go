// Package body holds the content of messages in flight: in memory, within one
// budget for them all, with the line endings SMTP demands.
//
// It knows bytes and lines. It must not know envelopes, clients or where a
// message goes.
package body

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"sync/atomic"
)

// ErrBudget is returned when the messages in flight take all the memory that
// they may.
var ErrBudget = errors.New("the memory for messages in flight is used up")

// Chunks double in size from the first to the last, so that a small message
// takes little and a large one few allocations.
const (
	firstChunk = 8 << 10
	lastChunk  = 1 << 20
)

// Budget bounds the memory that all messages in flight take together.
type Budget struct {
	limit int64
	used  atomic.Int64
}

// NewBudget gives a budget of limit bytes.
func NewBudget(limit int64) *Budget { return &Budget{limit: limit} }

// Used is what the buffers hold at this moment, in bytes.
func (b *Budget) Used() int64 { return b.used.Load() }

func (b *Budget) take(n int64) bool {
	if b.used.Add(n) <= b.limit {
		return true
	}
	b.used.Add(-n)
	return false
}

// Buffer is the content of one message. It is written once and then read as
// often as needed; Release gives its memory back to the budget.
type Buffer struct {
	budget *Budget
	chunks [][]byte
	size   int64
	taken  int64
}

// NewBuffer gives an empty buffer that draws on the budget.
func (b *Budget) NewBuffer() *Buffer { return &Buffer{budget: b} }

// Write appends p. It fails with ErrBudget where the budget does not allow it;
// the buffer is then of no further use but to be released.
func (b *Buffer) Write(p []byte) (int, error) {
	written := 0
	for written < len(p) {
		last, err := b.room()
		if err != nil {
			return written, err
		}
		n := min(cap(*last)-len(*last), len(p)-written)
		*last = append(*last, p[written:written+n]...)
		written += n
		b.size += int64(n)
	}
	return written, nil
}

// room gives the last chunk, a new one if the former is full.
func (b *Buffer) room() (*[]byte, error) {
	size := firstChunk
	if n := len(b.chunks); n > 0 {
		last := &b.chunks[n-1]
		if len(*last) < cap(*last) {
			return last, nil
		}
		size = min(2*cap(*last), lastChunk)
	}
	if !b.budget.take(int64(size)) {
		return nil, ErrBudget
	}
	b.taken += int64(size)
	b.chunks = append(b.chunks, newChunk(size))
	return &b.chunks[len(b.chunks)-1], nil
}

// firstChunks are used again and again: most messages need no other.
var firstChunks = sync.Pool{New: func() any { return new([firstChunk]byte) }}

func newChunk(size int) []byte {
	if size == firstChunk {
		return firstChunks.Get().(*[firstChunk]byte)[:0]
	}
	return make([]byte, 0, size)
}

// Size is the number of bytes written.
func (b *Buffer) Size() int64 { return b.size }

// Open gives a reader from the first byte on.
func (b *Buffer) Open() io.Reader {
	if len(b.chunks) == 1 {
		return bytes.NewReader(b.chunks[0])
	}
	readers := make([]io.Reader, len(b.chunks))
	for i, chunk := range b.chunks {
		readers[i] = bytes.NewReader(chunk)
	}
	return io.MultiReader(readers...)
}

// Release gives the memory back. No reader may be in use any more.
func (b *Buffer) Release() {
	b.budget.used.Add(-b.taken)
	if len(b.chunks) > 0 {
		firstChunks.Put((*[firstChunk]byte)(b.chunks[0][:firstChunk]))
	}
	b.chunks, b.taken, b.size = nil, 0, 0
}
