// Package queue keeps mail in the spool: it turns envelopes and what has
// become of each recipient into the spool's bytes, and back.
//
// It knows envelopes and the spool. It must not know when a message is tried
// again, what an answer means, or how mail leaves.
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

// Queue is the mail in one spool. It is safe for concurrent use, and has no lock
// beside the spool's own. Of its methods only Commit of a Draft, and Begin,
// Write and Room where space is just becoming free, wait for flash to be
// written; Load and content read from it.
type Queue struct {
	spool *spool.Spool
}

// New gives the queue that lies in s.
func New(s *spool.Spool) *Queue { return &Queue{s} }

// Ticket is what can be told of a message without reading it from flash.
type Ticket struct {
	ID     ID
	Client uint64 // stands for the client's address
	Size   int64  // octets of content
}

// Tickets gives the messages in the order in which they came.
func (q *Queue) Tickets() iter.Seq[Ticket] {
	return func(yield func(Ticket) bool) {
		for m := range q.spool.Messages() {
			if !yield(Ticket{m.ID, m.Client, m.Size}) {
				return
			}
		}
	}
}

// ClientOf is the number under which the spool counts a client's share.
func ClientOf(client netip.Addr) uint64 {
	address := client.Unmap().As16()
	hash := fnv.New64a()
	_, _ = hash.Write(address[:])
	return hash.Sum64()
}

// Draft is a message on its way into the queue.
type Draft struct {
	entry  *spool.Entry
	ticket Ticket
}

// Begin makes room for a message. expected is how many octets will come, as
// far as that is known. It fails with the spool's errors.
func (q *Queue) Begin(e envelope.Envelope, expected int64) (*Draft, error) {
	record, err := json.Marshal(recordOf(e))
	if err != nil {
		return nil, fmt.Errorf("encoding the envelope: %w", err)
	}
	client := ClientOf(e.Client)
	entry, err := q.spool.Create(client, expected, record)
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

// Abort gives the message up; after Commit it does nothing.
func (d *Draft) Abort() { d.entry.Abort() }

// Load reads a message's envelope and progress from flash.
func (q *Queue) Load(id ID) (envelope.Envelope, Progress, error) {
	about, err := q.spool.Message(id)
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
	progress, err := q.progress(about)
	return r.envelope(about.Size), progress, err
}

func (q *Queue) progress(about spool.Message) (Progress, error) {
	if !about.Noted {
		return Progress{}, nil
	}
	note, err := q.spool.NoteOf(about.ID)
	if errors.Is(err, spool.ErrNotFound) {
		return Progress{}, err
	}
	var p Progress
	if err == nil {
		err = json.Unmarshal(note, &p)
	}
	if err != nil {
		// A lost note costs a duplicate. A message given up for it would cost mail.
		return Progress{}, nil
	}
	return p, nil
}

// Save keeps a message's progress. It is durable a moment later; a power cut
// before that costs a duplicate.
func (q *Queue) Save(id ID, p Progress) error {
	note, err := p.encode()
	if err != nil {
		return err
	}
	return q.spool.Note(id, note)
}

// MakeDue ends the pause before a message is tried again.
func (q *Queue) MakeDue(id ID) error {
	_, p, err := q.Load(id)
	if err != nil || p.Next.IsZero() {
		return err
	}
	p.Next = time.Time{}
	return q.Save(id, p)
}

// Remove ends a message's stay.
func (q *Queue) Remove(id ID) error { return q.spool.Remove(id) }

// Content gives a message's content as it lies in the spool.
func (q *Queue) Content(id ID, size int64) envelope.Content {
	return content{q.spool, id, size}
}

type content struct {
	spool *spool.Spool
	id    ID
	size  int64
}

func (c content) Size() int64 { return c.size }

func (c content) Open() io.Reader {
	r, err := c.spool.Content(c.id)
	if err != nil {
		return errReader{err}
	}
	return r
}

// errReader is content that is there no more.
type errReader struct{ err error }

func (b errReader) Read([]byte) (int, error) { return 0, b.err }

// Room fails with the spool's error where a message of that client and size
// would find no room now.
func (q *Queue) Room(client netip.Addr, size int64) error {
	return q.spool.Room(ClientOf(client), size)
}

// Fault is not nil once the flash failed; see spool.ErrPoisoned.
func (q *Queue) Fault() error { return q.spool.Poisoned() }

// Memo is what SetMemo kept last; nil where nothing was.
func (q *Queue) Memo() []byte { return q.spool.Memo() }

// SetMemo keeps a few bytes that are about no single message.
func (q *Queue) SetMemo(memo []byte) error { return q.spool.SetMemo(memo) }
