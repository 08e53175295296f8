package dispatch

import (
	"context"
	"errors"
	"io"
	"time"

	"sealpost/relay/body"
	"sealpost/relay/envelope"
	"sealpost/relay/queue"
	"sealpost/relay/reply"
	"sealpost/relay/spool"
)

// Admit checks whether a message of that size can be accepted, before its
// content is sent. octets is the SIZE parameter of MAIL (RFC 1870), or 0 if the
// client gave none. The client gets a reply that is not positive.
func (d *Dispatcher) Admit(e envelope.Envelope, octets int64) reply.Reply {
	to := d.assignment(e)
	d.mu.Lock()
	now := time.Now()
	mustQueue := d.heldBy(to, now) != nil && d.queueReason(to, now) != ""
	q := d.queue
	d.mu.Unlock()
	if mustQueue && q != nil {
		if err := q.Room(e, octets); err != nil {
			return cannotQueueReply(err)
		}
	}
	return reply.New(250, 0, 0, "")
}

// Incoming is a message being received: in memory while the budget allows it,
// otherwise streamed into the spool. It is not safe for concurrent use. End it
// with Accept or Abandon.
type Incoming struct {
	dispatcher *Dispatcher
	envelope   envelope.Envelope
	expected   int64     // octets
	deadline   time.Time // of waiting for the queue
	memory     *body.Buffer
	drafts     drafts // of parts; nil while the content is in memory
	parts      []envelope.Envelope
	queue      *queue.Queue // of drafts
}

// Begin prepares to receive a message's content. expected is the number of
// octets that the client announced, or 0.
func (d *Dispatcher) Begin(e envelope.Envelope, expected int64) *Incoming {
	return &Incoming{dispatcher: d, envelope: d.clearUnreliableTime(e), expected: expected,
		deadline: time.Now().Add(d.config.Timeout), memory: d.config.Memory.NewBuffer()}
}

// Write implements io.Writer. Content that does not fit into memory waits for a
// spool that is still being created or opened. If the content cannot be stored
// at all, the error is a *reply.Error for the client.
func (in *Incoming) Write(p []byte) (int, error) {
	if in.drafts != nil {
		return in.stream(p)
	}
	n, err := in.memory.Write(p)
	if !errors.Is(err, body.ErrBudget) {
		return n, err
	}
	if err := in.moveToSpool(); err != nil {
		return n, err
	}
	rest, err := in.stream(p[n:])
	return n + rest, err
}

func (in *Incoming) stream(p []byte) (int, error) {
	n, err := in.drafts.Write(p)
	if err != nil {
		err = &reply.Error{Reply: cannotQueueReply(err)}
	}
	return n, err
}

// moveToSpool copies the content in memory into the spool; the rest is written
// there directly.
func (in *Incoming) moveToSpool() error {
	d := in.dispatcher
	q, reason := d.awaitQueue(d.context, in.deadline)
	if q == nil && errors.Is(reason, errNoSpool) {
		return &reply.Error{Reply: reply.New(452, 3, 1, "insufficient memory for this message, try again later")}
	}
	if q == nil {
		return &reply.Error{Reply: reply.New(451, 3, 0, "insufficient memory for this message, and it cannot be queued: %v", reason)}
	}
	// The rest of the content may contain octets above 127 and long lines. Declaring
	// 8BITMIME is harmless, and content is examined before it is changed.
	e := in.envelope
	e.EightBit, e.LongLines = true, true
	parts := d.split(e)
	started, err := begin(q, parts, max(in.expected, in.memory.Size()))
	if err == nil {
		in.drafts, in.parts, in.queue = started, parts, q
		_, err = io.Copy(started, in.memory.Open())
	}
	in.memory.Release()
	if err != nil {
		return &reply.Error{Reply: cannotQueueReply(err)}
	}
	return nil
}

// Abandon discards what was received.
func (in *Incoming) Abandon() {
	in.memory.Release()
	in.drafts.abort()
}

// Accept takes responsibility for the message (RFC 5321 section 6.1) and
// returns the client's reply. 250 means that the upstream has accepted the
// message or that it is durable in the spool.
func (in *Incoming) Accept(ctx context.Context, e envelope.Envelope) reply.Reply {
	d := in.dispatcher
	if in.drafts != nil {
		return d.commitParts(ctx, in.queue, in.drafts, in.parts, "too large for memory")
	}
	e = d.clearUnreliableTime(e)
	if parts := d.split(e); len(parts) > 1 {
		return d.queueParts(ctx, in, parts)
	}
	return d.offer(ctx, d.newMessage(e, in.memory))
}

// cannotQueueReply returns the client's reply when the spool rejects the
// message with err.
func cannotQueueReply(err error) reply.Reply {
	switch {
	case errors.Is(err, spool.ErrFull), errors.Is(err, spool.ErrShare):
		return reply.New(452, 3, 1, "%v", err)
	case errors.Is(err, spool.ErrTooLong):
		return reply.New(452, 5, 3, "%v", err)
	}
	return reply.New(451, 3, 0, "the message cannot be queued: %v", err)
}
