package dispatch

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"sealpost/relay/body"
	"sealpost/relay/envelope"
	"sealpost/relay/queue"
	"sealpost/relay/reply"
)

// message is one that a client waits for.
type message struct {
	envelope envelope.Envelope
	account  string
	moved    atomic.Int64  // when the upstream last took some content, Unix time in ns
	leave    chan struct{} // holds one where waiting on is of no use
	answered chan struct{} // closed when answer is final

	users atomic.Int32 // of memory

	started bool // an attempt is under way; guarded by the dispatcher's mutex

	mu     sync.Mutex
	memory *body.Buffer
	ticket queue.Ticket
	kept   bool
	answer reply.Reply
}

func newMessage(e envelope.Envelope, account string, memory *body.Buffer) *message {
	m := &message{envelope: e, account: account, memory: memory, leave: make(chan struct{}, 1), answered: make(chan struct{})}
	m.use()
	return m
}

// party is whose turn the message takes.
func (m *message) party() party { return party{queue.ClientOf(m.envelope.Client), m.account} }

// stopWaiting tells whoever waits that the message had better be kept.
func (m *message) stopWaiting() {
	select {
	case m.leave <- struct{}{}:
	default:
	}
}

// conclude ends a message for which nothing remains to be done, unless it was
// kept: then that is to be followed up. The client hears the answer if it has
// none yet.
func (m *message) conclude(answer reply.Reply) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.kept {
		return false
	}
	if m.answer.Code == 0 {
		m.say(answer)
	}
	return true
}

// settle gives the client's answer if it has none yet. The answer is made under
// the message's mutex, so that it says what is.
func (m *message) settle(answer func() reply.Reply) reply.Reply {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.answer.Code == 0 {
		m.say(answer())
	}
	return m.answer
}

func (m *message) say(answer reply.Reply) {
	m.answer = answer
	close(m.answered)
}

// keep commits the message to the spool, unless that is done or the client's
// answer is known already.
func (m *message) keep(q *queue.Queue) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.kept || m.answer.Code != 0 {
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
	// Whoever stops waiting must not leave it open whether the message is safe.
	if m.ticket, err = draft.Commit(context.Background()); err != nil {
		return err
	}
	m.kept = true
	return nil
}

var errNoSpool = errors.New("the spool is not open")

// use and release count those who need the content in memory.
func (m *message) use() { m.users.Add(1) }

func (m *message) release() {
	if m.users.Add(-1) == 0 {
		m.memory.Release()
	}
}

// patience is how long a client goes on waiting: until hold is over, and for a
// large body while the upstream keeps taking of it, to no more than mostHold.
func (m *message) patience(begun, now time.Time, hold time.Duration) time.Duration {
	const mostHold = 30 * time.Second
	end := begun.Add(hold)
	if moved := m.moved.Load(); moved > 0 && m.envelope.Size >= large {
		if still := time.Unix(0, moved).Add(hold); still.After(end) {
			end = still
		}
	}
	if most := begun.Add(max(hold, mostHold)); end.After(most) {
		end = most
	}
	return end.Sub(now)
}
