package journal

import (
	"bufio"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"sealpost/relay/envelope"
)

// TestAsync_NeverWaitsForItsReader has a log that is not read for a while.
func TestAsync_NeverWaitsForItsReader(t *testing.T) {
	r, w := io.Pipe()
	a := NewAsync(w, func(w io.Writer) slog.Handler { return Text(w, false) })
	j := New(a)
	const events = 3 * asyncEvents
	begun := time.Now()
	for range events {
		j.Received(envelope.Envelope{ID: "1"}, nil)
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("%d events took %v", events, took)
	}
	closed := make(chan struct{})
	go func() {
		a.Close()
		_ = w.Close()
		close(closed)
	}()
	lines, incomplete := 0, false
	for s := bufio.NewScanner(r); s.Scan(); lines++ {
		incomplete = incomplete || strings.Contains(s.Text(), `event="log incomplete" lost=`)
	}
	<-closed
	if lines < asyncEvents || lines > events || !incomplete {
		t.Errorf("got %d lines, incomplete %v", lines, incomplete)
	}
}
