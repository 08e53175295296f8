package dispatch

import (
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"

	"sealpost/relay/envelope"
)

type readerContent struct{ io.Reader }

func (c readerContent) Open() io.Reader { return c.Reader }
func (c readerContent) Size() int64     { return 4 }

var _ envelope.Content = readerContent{}

// TestTrackedContent_DistinguishesSendingFromInspecting reads content in both ways.
func TestTrackedContent_DistinguishesSendingFromInspecting(t *testing.T) {
	c := &trackedContent{Content: readerContent{strings.NewReader("text")}, lastRead: new(atomic.Int64)}
	if _, err := io.ReadAll(c.Inspect()); err != nil || c.wasRead() {
		t.Errorf("after Inspect: read %t, %v", c.wasRead(), err)
	}
	flash := errors.New("flash")
	c = &trackedContent{Content: readerContent{iotest.ErrReader(flash)}, lastRead: new(atomic.Int64)}
	if _, err := io.ReadAll(c.Inspect()); !errors.Is(err, flash) || !errors.Is(c.err(), flash) {
		t.Errorf("got %v and %v, want %v", err, c.err(), flash)
	}
}
