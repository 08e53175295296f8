// Package journal records what happens to mail, one method for each event, so
// that the log, the live monitor and the counters agree by construction.
//
// It knows the events and how they are written. It must never be given
// content, passwords or tokens, and it decides nothing.
package journal

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Level of the lines of the conversation with the upstream. They are always
// kept in memory and written to the log where the settings ask for them.
const levelConversation = slog.LevelDebug

// Counters are running totals since the start.
type Counters struct {
	Received   atomic.Int64 // messages taken in full from clients
	Delivered  atomic.Int64 // messages the upstream took
	Refused    atomic.Int64 // messages answered 5yz after DATA
	Deferred   atomic.Int64 // messages answered 4yz after DATA
	Kept       atomic.Int64 // messages answered 250 from the spool
	GivenUp    atomic.Int64 // recipients of kept messages that will not get theirs
	Signatures atomic.Int64 // made with the client certificate's key
}

// Journal takes events from every part of the relay, at the same time.
type Journal struct {
	Counters Counters

	log    slog.Handler
	recent *ring
}

// New gives a journal that writes to log and keeps the newest events in
// memory. Every event's attributes are bounded before they reach either.
func New(log slog.Handler) *Journal {
	return &Journal{log: log, recent: newRing(keptEvents)}
}

// Discard gives a journal that writes nowhere.
func Discard() *Journal { return New(slog.DiscardHandler) }

func (j *Journal) event(level slog.Level, name Event, attrs ...slog.Attr) {
	record := slog.NewRecord(time.Now(), level, string(name), 0)
	for _, attr := range attrs {
		record.AddAttrs(bounded(attr))
	}
	j.recent.add(record)
	ctx := context.Background()
	if j.log.Enabled(ctx, level) {
		_ = j.log.Handle(ctx, record)
	}
}

// bounded cuts what a stranger may have made long.
func bounded(attr slog.Attr) slog.Attr {
	if attr.Value.Kind() == slog.KindString {
		if text := attr.Value.String(); len(text) > clipped {
			attr.Value = slog.StringValue(clip(text))
		}
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

// clipped is the length to which texts are cut, in octets.
const clipped = 512

func clip(text string) string {
	if len(text) <= clipped {
		return text
	}
	return strings.ToValidUTF8(text[:clipped], "") + "…"
}

// keptEvents is how many events stay in memory: about 2 MiB of ordinary ones,
// some 40 MiB were every text in every one as long as it may be.
const keptEvents = 4096

// ring keeps the newest events and wakes those who follow them.
type ring struct {
	mu      sync.Mutex
	records []slog.Record
	next    uint64        // number of the event to come
	changed chan struct{} // made for the first who waits
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

// since gives the kept events from number on, the number that follows them,
// and a channel that is closed when there are more.
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

// Replay writes the kept events to sink, oldest first.
func (j *Journal) Replay(ctx context.Context, sink slog.Handler) error {
	records, _, _ := j.recent.since(0)
	return handleAll(ctx, sink, records)
}

// Follow writes the kept events to sink and goes on with new ones until ctx
// ends or sink fails. A follower too slow for the ring misses the oldest.
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
