// Package journal records what happens to mail, with one method for each event,
// so that the log, the live monitor and the counters always agree.
//
// It knows the events and how they are written. It must never be given content,
// passwords or tokens, and it decides nothing.
package journal

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sealpost/hal/printable"
)

// levelConversation is the level of the SMTP dialogue with the upstream. It is
// always kept in memory, and logged if the settings say so.
const levelConversation = slog.LevelDebug

// Counters are totals since the start.
type Counters struct {
	Received   atomic.Int64 // messages received from clients
	Delivered  atomic.Int64 // messages delivered to the upstream
	Refused    atomic.Int64 // messages with a 5yz reply after DATA
	Deferred   atomic.Int64 // messages with a 4yz reply after DATA
	Queued     atomic.Int64 // messages queued with a 250 reply
	GivenUp    atomic.Int64 // recipients of queued messages given up
	Signatures atomic.Int64 // with the client certificate's key
}

// Journal records events from all parts of the relay. It is safe for concurrent
// use.
type Journal struct {
	Counters Counters

	log      slog.Handler
	recent   *ring
	refusals refusals
}

// New returns a journal that writes to log and keeps the newest events in
// memory. Attributes are truncated for both.
func New(log slog.Handler) *Journal {
	return &Journal{log: log, recent: newRing(ringSize)}
}

// Discard returns a journal without a log.
func Discard() *Journal { return New(slog.DiscardHandler) }

func (j *Journal) event(level slog.Level, name Event, attrs ...slog.Attr) {
	record := slog.NewRecord(time.Now(), level, string(name), 0)
	for i := range attrs {
		attrs[i] = bounded(attrs[i])
	}
	record.AddAttrs(attrs...)
	j.recent.add(record)
	ctx := context.Background()
	if j.log.Enabled(ctx, level) {
		_ = j.log.Handle(ctx, record)
	}
}

// bounded truncates attributes that contain foreign text, and makes it printable.
func bounded(attr slog.Attr) slog.Attr {
	if attr.Value.Kind() == slog.KindString {
		attr.Value = slog.StringValue(clip(attr.Value.String()))
		return attr
	}
	switch value := attr.Value.Any().(type) {
	case []string:
		texts := make([]string, len(value))
		for i, text := range value {
			texts[i] = clip(text)
		}
		attr.Value = slog.AnyValue(texts)
	case []slog.Attr:
		members := make([]slog.Attr, len(value))
		for i, member := range value {
			members[i] = bounded(member)
		}
		attr.Value = slog.GroupValue(members...)
	}
	return attr
}

// maxText is the length to which texts are truncated, in octets.
const maxText = 512

func clip(text string) string {
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + "…"
	}
	return printable.Line(text)
}

// ringSize is how many events stay in memory: about 2 MiB typically, 40 MiB at
// most.
const ringSize = 4096

// ring keeps the newest events and wakes followers.
type ring struct {
	mu      sync.Mutex
	records []slog.Record
	next    uint64        // number of the next event
	changed chan struct{} // closed by the next event; nil while nobody waits
}

func newRing(size int) *ring {
	return &ring{records: make([]slog.Record, size)}
}

func (r *ring) add(record slog.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.records[r.next%uint64(len(r.records))] = record
	r.next++
	if r.changed != nil {
		close(r.changed)
		r.changed = nil
	}
}

// since returns the events from number on, the next number, and a channel that
// is closed at the next event.
func (r *ring) since(number uint64) (records []slog.Record, next uint64, changed <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if size := uint64(len(r.records)); r.next > size && number < r.next-size {
		number = r.next - size
	}
	for ; number < r.next; number++ {
		records = append(records, r.records[number%uint64(len(r.records))])
	}
	if r.changed == nil {
		r.changed = make(chan struct{})
	}
	return records, r.next, r.changed
}

// Replay writes the events in memory to sink, oldest first.
func (j *Journal) Replay(ctx context.Context, sink slog.Handler) error {
	records, _, _ := j.recent.since(0)
	return handleAll(ctx, sink, records)
}

// Follow writes the events in memory to sink and then new ones, until ctx ends
// or sink fails. A slow follower misses the oldest.
func (j *Journal) Follow(ctx context.Context, sink slog.Handler) error {
	for number := uint64(0); ; {
		records, next, changed := j.recent.since(number)
		if err := handleAll(ctx, sink, records); err != nil {
			return err
		}
		number = next
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

func handleAll(ctx context.Context, sink slog.Handler, records []slog.Record) error {
	for _, record := range records {
		if !sink.Enabled(ctx, record.Level) {
			continue
		}
		if err := sink.Handle(ctx, record); err != nil {
			return err
		}
	}
	return nil
}
