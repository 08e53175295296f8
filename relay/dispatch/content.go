package dispatch

import (
	"io"
	"sync/atomic"
	"time"

	"sealpost/relay/envelope"
)

// trackedContent records when content was last read and any read error. A read
// error is not the upstream's fault.
type trackedContent struct {
	envelope.Content
	lastRead *atomic.Int64 // Unix time in ns; 0 before the first
	readErr  atomic.Pointer[error]
}

// Open implements envelope.Content.
func (c *trackedContent) Open() io.Reader { return trackedReader{c, c.Content.Open()} }

// Inspect returns a reader of the content for another purpose than sending.
func (c *trackedContent) Inspect() io.Reader { return inspectingReader{c, c.Content.Open()} }

type trackedReader struct {
	content *trackedContent
	io.Reader
}

// Read implements io.Reader.
func (r trackedReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if n > 0 {
		r.content.lastRead.Store(time.Now().UnixNano())
	}
	if err != nil && err != io.EOF {
		r.content.readErr.Store(&err)
	}
	return n, err
}

type inspectingReader trackedReader

// Read implements io.Reader.
func (r inspectingReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && err != io.EOF {
		r.content.readErr.Store(&err)
	}
	return n, err
}

// wasRead reports whether any content was read for sending.
func (c *trackedContent) wasRead() bool { return c.lastRead.Load() != 0 }

// err returns the error of reading the content, or nil.
func (c *trackedContent) err() error {
	if err := c.readErr.Load(); err != nil {
		return *err
	}
	return nil
}
