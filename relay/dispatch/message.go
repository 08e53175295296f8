package dispatch

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"sealpost/relay/body"
	"sealpost/relay/dispatch/fairqueue"
	"sealpost/relay/envelope"
	"sealpost/relay/queue"
	"sealpost/relay/reply"
)

// message is one whose client waits for the answer.
type message struct {
	envelope envelope.Envelope
	route    *Route
	account  string
	deadline time.Time     // of waiting for the queue
	lastRead atomic.Int64  // when the upstream last took some content, Unix time in ns
	stopWait chan struct{} // holds one value where waiting on is of no use
	answered chan struct{} // closed when answer is final

	users atomic.Int32 // of memory

	started bool // an attempt has begun; guarded by the dispatcher's mutex

	mu     sync.Mutex
	memory *body.Buffer
	ticket queue.Ticket
	queued bool
	answer reply.Reply
}

func (d *Dispatcher) newMessage(e envelope.Envelope, memory *body.Buffer) *message {
	route := d.routeOf(e)
	m := &message{envelope: e, route: route, account: route.Upstream.Account(e), memory: memory,
		deadline: time.Now().Add(d.config.Timeout), stopWait: make(chan struct{}, 1), answered: make(chan struct{})}
	m.use()
	return m
}

// flow is whose turn the message takes.
func (m *message) flow() fairqueue.Flow {
	return fairqueue.Flow{Client: queue.ClientOf(m.envelope.Client), Account: m.account}
}

// stopWaiting has the message kept in the queue instead of waited for.
func (m *message) stopWaiting() {
	select {
	case m.stopWait <- struct{}{}:
	default:
	}
}

// finish ends a message with nothing left to do, and answers its client where
// that has no answer yet. It is false where the message lies in the queue by
// now, and must be followed up there.
func (m *message) finish(answer reply.Reply) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.queued {
		return false
	}
	m.replyOnce(answer)
	return true
}

// answerWith answers the client where that has no answer yet, and returns the
// answer. It is made under the message's mutex, so that it is true.
func (m *message) answerWith(answer func() reply.Reply) reply.Reply {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.answer.Code == 0 {
		m.replyOnce(answer())
	}
	return m.answer
}

// replyOnce answers the client unless it has an answer. The caller holds mu.
func (m *message) replyOnce(answer reply.Reply) {
	if m.answer.Code == 0 {
		m.answer = answer
		close(m.answered)
	}
}

// keep commits the message to the queue, unless it lies there already or the
// client has its answer. It holds mu until the message is durable, as this
// client's answer depends on that; no other waits for mu.
func (m *message) keep(q *queue.Queue) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.queued || m.answer.Code != 0 {
		return nil
	}
	if q == nil {
		return errNoSpool
	}
	draft, err := q.Begin(m.envelope, m.memory.Size())
	if err != nil {
		return err
	}
	if _, err := io.Copy(draft, m.memory.Open()); err != nil {
		draft.Abort()
		return err
	}
	// A client that disconnects must not leave it open whether the message is safe.
	if m.ticket, err = draft.Commit(context.Background()); err != nil {
		return err
	}
	m.queued = true
	return nil
}

// use and release count those who need the content in memory.
func (m *message) use() { m.users.Add(1) }

func (m *message) release() {
	if m.users.Add(-1) == 0 {
		m.memory.Release()
	}
}

// waitLeft is how long a client that waits since begun waits on: until wait is
// over, and for a large body while the upstream keeps taking of it, to no more
// than 30 s.
func (m *message) waitLeft(begun, now time.Time, wait time.Duration) time.Duration {
	const longest = 30 * time.Second
	end := begun.Add(wait)
	if read := m.lastRead.Load(); read > 0 && m.envelope.Size >= fairqueue.LargeSize {
		if moving := time.Unix(0, read).Add(wait); moving.After(end) {
			end = moving
		}
	}
	if last := begun.Add(max(wait, longest)); end.After(last) {
		end = last
	}
	return end.Sub(now)
}
