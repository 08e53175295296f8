// Package body holds the content of messages in flight in memory, within one
// budget for all of them, and normalises line endings for SMTP, without NUL octets.
//
// It knows bytes and lines. It must not know envelopes, clients or
// destinations.
package body

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"sync/atomic"
)

// ErrBudget is returned when the messages in flight use all the memory of the
// budget.
var ErrBudget = errors.New("the memory for messages in flight is used up")

// Chunks double in size, so that a small message takes little memory and a large
// one few allocations.
const (
	firstChunk = 8 << 10
	lastChunk  = 1 << 20
)

// Budget limits the memory that all messages in flight use together.
type Budget struct {
	limit int64
	used  atomic.Int64
}

// NewBudget returns a budget of limit bytes.
func NewBudget(limit int64) *Budget { return &Budget{limit: limit} }

// Used returns the number of bytes in use.
func (b *Budget) Used() int64 { return b.used.Load() }

func (b *Budget) reserve(n int64) bool {
	if b.used.Add(n) <= b.limit {
		return true
	}
	b.used.Add(-n)
	return false
}

// Buffer is the content of one message. It is written once and can be read many
// times; Release returns its memory to the budget.
type Buffer struct {
	budget   *Budget
	chunks   [][]byte
	size     int64
	reserved int64
}

// NewBuffer returns an empty buffer that draws on the budget.
func (b *Budget) NewBuffer() *Buffer { return &Buffer{budget: b} }

// Write appends p. It fails with ErrBudget if the budget is used up; the buffer
// can then only be released.
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

// room returns the last chunk, or a new one if it is full.
func (b *Buffer) room() (*[]byte, error) {
	size := firstChunk
	if n := len(b.chunks); n > 0 {
		last := &b.chunks[n-1]
		if len(*last) < cap(*last) {
			return last, nil
		}
		size = min(2*cap(*last), lastChunk)
	}
	if !b.budget.reserve(int64(size)) {
		return nil, ErrBudget
	}
	b.reserved += int64(size)
	b.chunks = append(b.chunks, newChunk(size))
	return &b.chunks[len(b.chunks)-1], nil
}

// firstChunks recycles first chunks: most messages need no other.
var firstChunks = sync.Pool{New: func() any { return new([firstChunk]byte) }}

func newChunk(size int) []byte {
	if size == firstChunk {
		return firstChunks.Get().(*[firstChunk]byte)[:0]
	}
	return make([]byte, 0, size)
}

// Size returns the number of bytes written.
func (b *Buffer) Size() int64 { return b.size }

// Open returns a reader of the whole content.
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

// Release frees the memory. No reader may be in use.
func (b *Buffer) Release() {
	b.budget.used.Add(-b.reserved)
	if len(b.chunks) > 0 {
		firstChunks.Put((*[firstChunk]byte)(b.chunks[0][:firstChunk]))
	}
	b.chunks, b.reserved, b.size = nil, 0, 0
}
