package dispatch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"sealpost/relay/envelope"
	"sealpost/relay/queue"
	"sealpost/relay/reply"
	"sealpost/relay/spool"
)

// split returns a message as one message for each set of routes that its recipients may
// take: usually as it is. The parts have IDs of their own.
func (d *Dispatcher) split(e envelope.Envelope) []envelope.Envelope {
	if !slices.ContainsFunc(d.routes, func(r *Route) bool { return r.Takes != nil }) {
		return []envelope.Envelope{e}
	}
	var (
		sets  []uint8
		parts [][]int
	)
	for i, recipient := range e.Recipients {
		set := d.barred([]envelope.Address{recipient})
		n := slices.Index(sets, set)
		if n < 0 {
			n = len(sets)
			sets, parts = append(sets, set), append(parts, nil)
		}
		parts[n] = append(parts[n], i)
	}
	if len(parts) < 2 {
		return []envelope.Envelope{e}
	}
	var split []envelope.Envelope
	for n, recipients := range parts {
		part := e.To(recipients)
		if n > 0 {
			part.ID = fmt.Sprintf("%s-%d", e.ID, n+1)
		}
		split = append(split, part)
	}
	return split
}

// drafts are the same content being written for each part of a message.
type drafts []*queue.Draft

// begin starts a draft for each part.
func begin(q *queue.Queue, parts []envelope.Envelope, expected int64) (drafts, error) {
	var all drafts
	for _, part := range parts {
		draft, err := q.Begin(part, expected)
		if err != nil {
			all.abort()
			return nil, err
		}
		all = append(all, draft)
	}
	return all, nil
}

// Write implements io.Writer.
func (all drafts) Write(p []byte) (n int, err error) {
	for _, draft := range all {
		if n, err = draft.Write(p); err != nil {
			return n, err
		}
	}
	return len(p), nil
}

func (all drafts) abort() {
	for _, draft := range all {
		draft.Abort()
	}
}

// commit returns once every part is durable, or none.
func (all drafts) commit(ctx context.Context, q *queue.Queue) ([]queue.Ticket, error) {
	var tickets []queue.Ticket
	for n, draft := range all {
		ticket, err := draft.Commit(ctx)
		if err == nil {
			tickets = append(tickets, ticket)
			continue
		}
		all[n+1:].abort()
		for _, ticket := range tickets {
			if removeErr := q.Remove(ticket.ID); removeErr != nil && !errors.Is(removeErr, spool.ErrNotFound) {
				err = errors.Join(err, removeErr)
			}
		}
		return nil, err
	}
	return tickets, nil
}

// queueParts queues a message in memory that takes different routes, whole or not at all.
func (d *Dispatcher) queueParts(ctx context.Context, in *Incoming, parts []envelope.Envelope) reply.Reply {
	defer in.memory.Release()
	q, err := d.awaitQueue(ctx, in.deadline)
	if q == nil {
		return d.recordDeferred(parts[0], cannotQueueReply(err))
	}
	all, err := begin(q, parts, in.memory.Size())
	if err == nil {
		_, err = io.Copy(all, in.memory.Open())
	}
	if err != nil {
		all.abort()
		return d.recordDeferred(parts[0], cannotQueueReply(err))
	}
	// As in message.enqueue, the outcome must be known even if the client disconnects.
	return d.commitParts(context.WithoutCancel(ctx), q, all, parts, "its recipients take different delivery methods")
}

// commitParts commits the drafts, schedules them, and returns the client's reply, which
// names the first part.
func (d *Dispatcher) commitParts(ctx context.Context, q *queue.Queue, all drafts, parts []envelope.Envelope, reason string) reply.Reply {
	tickets, err := all.commit(ctx, q)
	if err != nil {
		return d.recordDeferred(parts[0], cannotQueueReply(err))
	}
	var clientReply reply.Reply
	for n, part := range slices.Backward(parts) {
		d.schedule(tickets[n], d.assignment(part))
		clientReply = d.queuedReply(part, reason)
	}
	return clientReply
}
