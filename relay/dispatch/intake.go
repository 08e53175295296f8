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

// Admit says whether a message of that size may come at all, before its content
// is sent; octets is the SIZE of MAIL (RFC 1870), 0 where the client gave none.
// Where the reply is not positive it is the client's answer.
func (d *Dispatcher) Admit(e envelope.Envelope, octets int64) reply.Reply {
	route := d.routeOf(e)
	account := route.Upstream.Account(e)
	d.mu.Lock()
	now := time.Now()
	mustKeep := route.heldBy(route.throttle.Account(account, now)) != nil && d.whyKeep(route, account, now) != ""
	q := d.queue
	d.mu.Unlock()
	if mustKeep && q != nil {
		if err := q.Room(e.Client, octets); err != nil {
			return cannotKeep(err)
		}
	}
	return reply.New(250, 0, 0, "")
}

// Incoming is a message that is being received: in memory while the budget for
// messages in flight lasts, and streamed into the spool when it does not. It is
// for one goroutine; Accept or Abandon ends it.
type Incoming struct {
	dispatcher *Dispatcher
	envelope   envelope.Envelope
	expected   int64     // octets
	deadline   time.Time // of waiting for the queue
	memory     *body.Buffer
	draft      *queue.Draft
}

// Begin prepares for a message's content. expected is how many octets the client
// announced, or 0.
func (d *Dispatcher) Begin(e envelope.Envelope, expected int64) *Incoming {
	return &Incoming{dispatcher: d, envelope: d.withoutWrongTime(e), expected: expected,
		deadline: time.Now().Add(d.config.Timeout), memory: d.config.Memory.NewBuffer()}
}

// Write implements io.Writer. Content that does not fit into memory waits for a
// spool that is still being made or opened. The error is a *reply.Error, for
// the client, where the content can be put nowhere.
func (in *Incoming) Write(p []byte) (int, error) {
	if in.draft != nil {
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
	n, err := in.draft.Write(p)
	if err != nil {
		err = &reply.Error{Reply: cannotKeep(err)}
	}
	return n, err
}

// moveToSpool moves what is in memory into the spool, where the rest follows.
func (in *Incoming) moveToSpool() error {
	d := in.dispatcher
	q, reason := d.awaitQueue(d.context, in.deadline)
	if q == nil && errors.Is(reason, errNoSpool) {
		return &reply.Error{Reply: reply.New(452, 3, 1, "no memory for this message now, try again later")}
	}
	if q == nil {
		return &reply.Error{Reply: reply.New(451, 3, 0, "no memory for this message now, and it cannot be kept: %v", reason)}
	}
	// Content that is still to come may hold octets above 127; to say so costs
	// nothing.
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

// Abandon discards what was received.
func (in *Incoming) Abandon() {
	in.memory.Release()
	if in.draft != nil {
		in.draft.Abort()
	}
}

// Accept takes responsibility for the message (RFC 5321 section 6.1) and returns
// the client's answer: a 250 says that the upstream has the message or that it
// lies durable in the spool.
func (in *Incoming) Accept(ctx context.Context, e envelope.Envelope) reply.Reply {
	d := in.dispatcher
	if in.draft == nil {
		return d.offer(ctx, d.newMessage(d.withoutWrongTime(e), in.memory))
	}
	ticket, err := in.draft.Commit(ctx)
	if err != nil {
		return d.deferred(e, cannotKeep(err))
	}
	d.schedule(ticket, d.routeOf(e).Upstream.Account(e))
	return d.kept(e, "it is too large for memory")
}

// cannotKeep is the client's answer where the spool takes no message.
func cannotKeep(err error) reply.Reply {
	switch {
	case errors.Is(err, spool.ErrFull), errors.Is(err, spool.ErrShare):
		return reply.New(452, 3, 1, "%v", err)
	case errors.Is(err, spool.ErrTooLong):
		return reply.New(452, 5, 3, "%v", err)
	}
	return reply.New(451, 3, 0, "the message cannot be kept: %v", err)
}
