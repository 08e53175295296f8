package journal

import (
	"context"
	"io"
	"log/slog"
	"sync/atomic"
	"time"
)

// Async writes events without waiting for the writer, so that mail does not stop when the
// log is not read. Close ends it.
type Async struct {
	slog.Handler
	lines  *lineBuffer // of Handler
	events chan slog.Record
	lost   atomic.Int64
	stop   chan struct{} // closed by Close
	done   chan struct{} // closed when everything is written
}

// asyncEvents is how many events wait for the handler.
const asyncEvents = 1024

// NewAsync returns a handler that writes to w what the handler made by format writes. Call
// Close.
func NewAsync(w io.Writer, format func(io.Writer) slog.Handler) *Async {
	waiting := &lineBuffer{to: w}
	a := &Async{Handler: format(waiting), lines: waiting, events: make(chan slog.Record, asyncEvents), stop: make(chan struct{}), done: make(chan struct{})}
	go a.run()
	return a
}

// Handle implements [slog.Handler]. If too many events wait, it drops this one.
func (a *Async) Handle(_ context.Context, r slog.Record) error {
	select {
	case a.events <- r:
	default:
		a.lost.Add(1)
	}
	return nil
}

func (a *Async) run() {
	defer close(a.done)
	for {
		select {
		case r := <-a.events:
			a.write(r)
			continue
		default:
			a.lines.flush()
		}
		select {
		case r := <-a.events:
			a.write(r)
		case <-a.stop:
			return
		}
	}
}

func (a *Async) write(r slog.Record) {
	ctx := context.Background()
	_ = a.Handler.Handle(ctx, r)
	if lost := a.lost.Swap(0); lost > 0 {
		r := slog.NewRecord(time.Now(), slog.LevelWarn, string(EventLogIncomplete), 0)
		r.AddAttrs(slog.Int64("lost", lost))
		_ = a.Handler.Handle(ctx, r)
	}
}

// Close writes the events that wait, unless that takes longer than a second. It
// drops later ones.
func (a *Async) Close() {
	close(a.stop)
	select {
	case <-a.done:
	case <-time.After(time.Second):
	}
}

// lineBuffer collects whole lines, so that many events cost one write.
type lineBuffer struct {
	to      io.Writer
	waiting []byte
}

// Write takes a line. Errors are ignored: nobody can be told.
func (l *lineBuffer) Write(line []byte) (int, error) {
	const most = 16 << 10
	if len(l.waiting)+len(line) > most {
		l.flush()
	}
	l.waiting = append(l.waiting, line...)
	return len(line), nil
}

func (l *lineBuffer) flush() {
	if len(l.waiting) > 0 {
		_, _ = l.to.Write(l.waiting)
		l.waiting = l.waiting[:0]
	}
}
