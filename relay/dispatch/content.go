package dispatch

import (
	"io"
	"sync/atomic"
	"time"

	"sealpost/relay/envelope"
)

// watched is content that notes when it was last read from, and what went
// wrong with reading it: such a fault is not the upstream's.
type watched struct {
	envelope.Content
	moved *atomic.Int64
	fault atomic.Pointer[error]
}

// Open implements envelope.Content.
func (w *watched) Open() io.Reader { return watchedReader{w, w.Content.Open()} }

type watchedReader struct {
	content *watched
	io.Reader
}

func (r watchedReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if n > 0 {
		r.content.moved.Store(time.Now().UnixNano())
	}
	if err != nil && err != io.EOF {
		r.content.fault.Store(&err)
	}
	return n, err
}

// begun tells whether any content was sent.
func (w *watched) begun() bool { return w.moved.Load() != 0 }

// broken is what went wrong with reading; nil where nothing did.
func (w *watched) broken() error {
	if err := w.fault.Load(); err != nil {
		return *err
	}
	return nil
}
