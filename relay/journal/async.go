package journal

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"
)

// Async passes events to another handler without waiting for it, so that mail does
// not stop when the log is not read. Close ends it.
type Async struct {
	slog.Handler
	events chan slog.Record
	lost   atomic.Int64
	stop   chan struct{} // closed by Close
	done   chan struct{} // closed when everything is written
}

// asyncEvents is how many events wait for the handler.
const asyncEvents = 1024

// NewAsync returns a handler in front of h. Call Close.
func NewAsync(h slog.Handler) *Async {
	a := &Async{Handler: h, events: make(chan slog.Record, asyncEvents), stop: make(chan struct{}), done: make(chan struct{})}
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
