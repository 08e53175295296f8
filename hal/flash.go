package hal

import "io"

// Flash is a fixed-size piece of storage, or a region of one.
//
// Its only guarantee: until Flush has returned nil, any subset of the writes since
// the last successful Flush may survive a power cut, at 512-byte granularity and
// in any order. After an error from WriteAt or Flush these writes are undefined.
type Flash interface {
	io.ReaderAt
	io.WriterAt

	// Flush returns nil once every earlier write is durable.
	Flush() error

	// Size is the size in bytes; it never changes.
	Size() int64
}
