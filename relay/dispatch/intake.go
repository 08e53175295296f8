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

// Admit tells whether a message of that size may come at all, before its
// content is sent; octets may be 0 where the client did not say. Where the
// answer is not positive it is the client's.
func (d *Dispatcher) Admit(e envelope.Envelope, octets int64) reply.Reply {
	account := d.upstream.Account(e)
	d.mu.Lock()
	now := time.Now()
	needed := d.closed(d.ledger.of(account, now)) != nil && d.hopeless(account, now) != ""
	q := d.queue
	d.mu.Unlock()
	if !needed || q == nil {
		return reply.New(250, 0, 0, "")
	}
	if err := q.Room(e.Client, octets); err != nil {
		return cannotKeep(err)
	}
	return reply.New(250, 0, 0, "")
}

// Incoming is a message that is being received: in memory while the budget
// for messages in flight lasts, and streamed into the spool when it does not.
type Incoming struct {
	dispatcher *Dispatcher
	envelope   envelope.Envelope
	expected   int64
	memory     *body.Buffer
	draft      *queue.Draft
}

// Begin makes ready for a message's content. expected is how many octets the
// client announced, or 0.
func (d *Dispatcher) Begin(e envelope.Envelope, expected int64) *Incoming {
	return &Incoming{dispatcher: d, envelope: d.dated(e), expected: expected, memory: d.config.Memory.NewBuffer()}
}

// Write implements io.Writer. Its error is a *reply.Error where the content
// can be put nowhere.
func (in *Incoming) Write(p []byte) (int, error) {
	if in.draft != nil {
		return in.stream(p)
	}
	n, err := in.memory.Write(p)
	if !errors.Is(err, body.ErrBudget) {
		return n, err
	}
	if err := in.spill(); err != nil {
		return n, err
	}
	rest, err := in.stream(p[n:])
	return n + rest, err
}

func (in *Incoming) stream(p []byte) (int, error) {
	n, err := in.draft.Write(p)
	if err != nil {
		err = &reply.Error{Reply: cannotKeep(err)}
	}
	return n, err
}

// spill moves what is in memory into the spool.
func (in *Incoming) spill() error {
	q, _ := in.dispatcher.Queue()
	if q == nil {
		return &reply.Error{Reply: reply.New(452, 3, 1, "no memory for this message now, try again later")}
	}
	// What is still to come may hold octets above 127; saying so costs nothing.
	e := in.envelope
	e.EightBit = true
	draft, err := q.Begin(e, max(in.expected, in.memory.Size()))
	if err == nil {
		in.draft = draft
		_, err = io.Copy(draft, in.memory.Open())
	}
	in.memory.Release()
	if err != nil {
		return &reply.Error{Reply: cannotKeep(err)}
	}
	return nil
}

// Abandon gives up what was received.
func (in *Incoming) Abandon() {
	in.memory.Release()
	if in.draft != nil {
		in.draft.Abort()
	}
}

// Accept takes the message over, and the client's answer is what it gives: a
// 250 says that the upstream has the message or that it lies durable in the
// spool.
func (in *Incoming) Accept(ctx context.Context, e envelope.Envelope) reply.Reply {
	d := in.dispatcher
	if in.draft == nil {
		return d.offer(ctx, newMessage(d.dated(e), d.upstream.Account(e), in.memory))
	}
	ticket, err := in.draft.Commit(ctx)
	if err != nil {
		return d.declinedAs(e, cannotKeep(err))
	}
	d.put(ticket, d.upstream.Account(e))
	return d.kept(e, "it is too large for memory")
}

// cannotKeep puts the spool's refusal into an answer.
func cannotKeep(err error) reply.Reply {
	switch {
	case errors.Is(err, spool.ErrFull), errors.Is(err, spool.ErrShare):
		return reply.New(452, 3, 1, "%v", err)
	case errors.Is(err, spool.ErrTooLong):
		return reply.New(452, 5, 3, "%v", err)
	}
	return reply.New(451, 3, 0, "the message cannot be kept: %v", err)
}
