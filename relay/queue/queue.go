// Package queue stores mail in the spool: it encodes envelopes and the progress
// of each recipient.
//
// It knows envelopes and the spool. It must not know when a message is retried,
// what a reply means, or how mail leaves.
package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"iter"
	"net/netip"
	"time"

	"sealpost/relay/envelope"
	"sealpost/relay/spool"
)

// ID is a message's number in the spool.
type ID = spool.ID

// Queue is the mail in one spool. It is safe for concurrent use, and has no
// lock besides the spool's. Only Draft.Commit and SaveNow wait for flash writes, and so do
// Begin, Write and Room while space is being freed; Load and content read from
// flash.
type Queue struct {
	spool *spool.Spool
}

// New returns the queue stored in s.
func New(s *spool.Spool) *Queue { return &Queue{s} }

// Ticket is the part of a message that is known without reading it from flash.
type Ticket struct {
	ID     ID
	Client uint64 // hash of the client's address
	Size   int64  // octets of content
}

// Tickets returns the messages in the order of arrival.
func (q *Queue) Tickets() iter.Seq[Ticket] {
	return func(yield func(Ticket) bool) {
		for m := range q.spool.Messages() {
			if !yield(Ticket{m.ID, m.Client, m.Size}) {
				return
			}
		}
	}
}

// ClientOf returns the number under which the spool counts a client's share.
func ClientOf(client netip.Addr) uint64 {
	address := envelope.ClientNetwork(client).Addr().As16()
	hash := fnv.New64a()
	_, _ = hash.Write(address[:])
	return hash.Sum64()
}

// Draft is a message being written to the queue.
type Draft struct {
	entry  *spool.Entry
	ticket Ticket
}

// Begin reserves space for a message. expected is the expected size in octets,
// or 0. It returns the spool's errors.
func (q *Queue) Begin(e envelope.Envelope, expected int64) (*Draft, error) {
	return q.BeginBound(e, expected, "")
}

// BeginBound is Begin for a message with this Progress.Route, which becomes durable
// together with the message.
func (q *Queue) BeginBound(e envelope.Envelope, expected int64, route string) (*Draft, error) {
	r := recordOf(e)
	r.Route = route
	record, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encoding the envelope: %w", err)
	}
	client := ClientOf(e.Client)
	entry, err := q.spool.CreateWithin(client, e.Share, expected, record)
	if err != nil {
		return nil, err
	}
	return &Draft{entry, Ticket{Client: client}}, nil
}

// Write adds content.
func (d *Draft) Write(p []byte) (int, error) {
	n, err := d.entry.Write(p)
	d.ticket.Size += int64(n)
	return n, err
}

// Commit returns once the message is durable.
func (d *Draft) Commit(ctx context.Context) (Ticket, error) {
	id, err := d.entry.Commit(ctx)
	d.ticket.ID = id
	return d.ticket, err
}

// Abort discards the message; after Commit it does nothing.
func (d *Draft) Abort() { d.entry.Abort() }

// Load reads a message's envelope and progress from flash.
func (q *Queue) Load(id ID) (envelope.Envelope, Progress, error) {
	info, err := q.spool.Message(id)
	if err != nil {
		return envelope.Envelope{}, Progress{}, err
	}
	text, err := q.spool.Envelope(id)
	if err != nil {
		return envelope.Envelope{}, Progress{}, fmt.Errorf("reading the envelope: %w", err)
	}
	var r record
	if err := json.Unmarshal(text, &r); err != nil {
		return envelope.Envelope{}, Progress{}, fmt.Errorf("reading the envelope: %w", err)
	}
	progress, err := q.progress(info, Progress{Route: r.Route})
	return r.envelope(info.Size), progress, err
}

// progress returns a message's progress, or initial if none was saved.
func (q *Queue) progress(info spool.Message, initial Progress) (Progress, error) {
	if !info.Noted {
		return initial, nil
	}
	note, err := q.spool.NoteOf(info.ID)
	if errors.Is(err, spool.ErrNotFound) {
		return Progress{}, err
	}
	var p Progress
	if err == nil {
		err = json.Unmarshal(note, &p)
	}
	if err != nil {
		// Without its note the message is delivered twice; giving it up would lose it.
		return initial, nil
	}
	return p, nil
}

// Save stores a message's progress. It becomes durable shortly after; a power
// cut before that causes a duplicate delivery.
func (q *Queue) Save(id ID, p Progress) error {
	note, err := p.encode()
	if err != nil {
		return err
	}
	return q.spool.Note(id, note)
}

// SaveNow stores a message's progress, and returns once it is durable. After
// spool.ErrFull, it becomes durable once the spool has room.
func (q *Queue) SaveNow(ctx context.Context, id ID, p Progress) error {
	if err := q.Save(id, p); err != nil {
		return err
	}
	return q.spool.Sync(ctx)
}

// MakeDue clears the time before which a message is not retried.
func (q *Queue) MakeDue(id ID) error {
	_, p, err := q.Load(id)
	if err != nil || p.Next.IsZero() {
		return err
	}
	p.Next = time.Time{}
	return q.Save(id, p)
}

// Remove removes a message from the queue.
func (q *Queue) Remove(id ID) error { return q.spool.Remove(id) }

// Content returns a message's content in the spool.
func (q *Queue) Content(id ID, size int64) envelope.Content {
	return storedContent{q.spool, id, size}
}

type storedContent struct {
	spool *spool.Spool
	id    ID
	size  int64
}

func (c storedContent) Size() int64 { return c.size }

func (c storedContent) Open() io.Reader {
	r, err := c.spool.Content(c.id)
	if err != nil {
		return errReader{err}
	}
	return r
}

// errReader is the reader of content that no longer exists.
type errReader struct{ err error }

func (b errReader) Read([]byte) (int, error) { return 0, b.err }

// Room returns the spool's error if a message of that envelope and size does not fit.
func (q *Queue) Room(e envelope.Envelope, size int64) error {
	return q.spool.Room(ClientOf(e.Client), e.Share, size)
}

// Fault returns the error of the flash once it has failed; see
// spool.ErrPoisoned.
func (q *Queue) Fault() error { return q.spool.Poisoned() }

// Memo returns the bytes stored by SetMemo, or nil.
func (q *Queue) Memo() []byte { return q.spool.Memo() }

// SetMemo stores a few bytes that belong to no single message.
func (q *Queue) SetMemo(memo []byte) error { return q.spool.SetMemo(memo) }
