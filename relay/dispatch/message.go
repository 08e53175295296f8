package dispatch

import (
	"context"
	"io"
	"sync/atomic"
	"time"

	"sealpost/relay/body"
	"sealpost/relay/dispatch/fairqueue"
	"sealpost/relay/envelope"
	"sealpost/relay/queue"
	"sealpost/relay/reply"
)

// message is a live message: its client waits for the reply.
type message struct {
	envelope envelope.Envelope
	deadline time.Time     // of waiting for the queue
	lastRead atomic.Int64  // when content was last sent to the upstream, Unix time in ns
	stopWait chan struct{} // holds one value once the client should wait no longer
	replied  chan struct{} // closed once reply is set

	users  atomic.Int32 // references to memory
	failed atomic.Bool  // the attempt has ended, and its result is about to be the reply

	// Guarded by the dispatcher's mutex. Whoever changes to.Bound holds mu too.
	started bool // an attempt has begun
	to      fairqueue.Assignment
	instead string // why the message is bound to a later route

	mu     commitLock
	bound  string // Progress.Route of the message once it is queued
	memory *body.Buffer
	ticket queue.Ticket
	queued bool
	reply  reply.Reply
}

// commitLock is a mutex that is held during a flash write. It is a channel because a
// goroutine that waits for a sync.Mutex stops the fake clock of a test, and with it the
// spool, which waits a moment for other commits.
type commitLock chan struct{}

// Lock implements sync.Locker.
func (l commitLock) Lock() { l <- struct{}{} }

// Unlock implements sync.Locker.
func (l commitLock) Unlock() { <-l }

func (d *Dispatcher) newMessage(e envelope.Envelope, memory *body.Buffer) *message {
	m := &message{envelope: e, to: d.assignment(e), memory: memory,
		deadline: time.Now().Add(d.config.Timeout), stopWait: make(chan struct{}, 1), replied: make(chan struct{}), mu: make(commitLock, 1)}
	m.use()
	return m
}

// flow returns the fair queue's flow of the message.
func (m *message) flow() fairqueue.Flow {
	return fairqueue.Flow{Client: queue.ClientOf(m.envelope.Client), Assignment: m.to}
}

// bind binds the message to a route, or to none, from the time on at which it is
// queued. It returns true if it is queued already and must be bound there.
func (m *message) bind(route string) (queued bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.queued {
		m.bound = route
	}
	return m.queued
}

// stopWaiting ends the client's wait; the message is then queued.
func (m *message) stopWaiting() {
	select {
	case m.stopWait <- struct{}{}:
	default:
	}
}

// finish sets the client's reply to a message that needs no further delivery.
// It returns false if the message is queued already and must be finished there.
func (m *message) finish(clientReply reply.Reply) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.queued {
		return false
	}
	m.replyOnce(clientReply)
	return true
}

// ensureReply sets the client's reply unless it is set, and returns it.
// makeReply is called with mu held, so that it sees the final state.
func (m *message) ensureReply(makeReply func() reply.Reply) reply.Reply {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.reply.Code == 0 {
		m.replyOnce(makeReply())
	}
	return m.reply
}

// replyOnce sets the client's reply unless it is set. The caller holds mu.
func (m *message) replyOnce(clientReply reply.Reply) {
	if m.reply.Code == 0 {
		m.reply = clientReply
		close(m.replied)
	}
}

// enqueue commits the message to the queue, unless it is queued or its client
// has a reply. It holds mu until the message is durable: only this client's
// reply waits for mu.
func (m *message) enqueue(q *queue.Queue) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.queued || m.reply.Code != 0 {
		return nil
	}
	if q == nil {
		return errNoSpool
	}
	draft, err := q.BeginBound(m.envelope, m.memory.Size(), m.bound)
	if err != nil {
		return err
	}
	if _, err := io.Copy(draft, m.memory.Open()); err != nil {
		draft.Abort()
		return err
	}
	// The commit ignores the client's context: its outcome must be known even if the client disconnects.
	if m.ticket, err = draft.Commit(context.Background()); err != nil {
		return err
	}
	m.queued = true
	return nil
}

// inQueue returns the message's ticket, if it is queued.
func (m *message) inQueue() (ticket queue.Ticket, queued bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ticket, m.queued
}

// use adds a reference to the content in memory.
func (m *message) use() { m.users.Add(1) }

// release drops a reference and frees the content with the last one.
func (m *message) release() {
	if m.users.Add(-1) == 0 {
		m.memory.Release()
	}
}

// waitLeft returns how much longer a client should wait: until wait has passed since
// begun or, with a large message, since the last progress, but at most 30 s in all.
func (m *message) waitLeft(begun, now time.Time, wait time.Duration) time.Duration {
	const maxWait = 30 * time.Second
	end := begun.Add(wait)
	if read := m.lastRead.Load(); read > 0 && m.envelope.Size >= fairqueue.LargeSize {
		if progressEnd := time.Unix(0, read).Add(wait); progressEnd.After(end) {
			end = progressEnd
		}
	}
	if latest := begun.Add(max(wait, maxWait)); end.After(latest) {
		end = latest
	}
	return end.Sub(now)
}
