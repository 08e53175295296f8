package transport

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"sealpost/relay/journal"
	"sealpost/relay/reply"
	"sealpost/relay/upstream/esmtp"
)

// smtpConn is an open connection, ready for a transaction.
type smtpConn struct {
	to     Destination
	client *esmtp.Client
	record journal.Connection
	used   bool // it was used for a transaction
	expiry *time.Timer
}

// stale reports whether the reply to MAIL, zero if none came, shows that a
// reused connection was closed by the server or lost its login.
func (conn *smtpConn) stale(mail reply.Reply) bool {
	const loginRequired = 530
	return conn.used && (mail.Code == 0 || mail.Code == esmtp.ServiceClosing || mail.Code == loginRequired && conn.record.Account != "")
}

// pool manages connections, up to limits in total and per destination, and
// keeps idle ones for reuse. A connection counts until it is closed.
type pool struct {
	maxOpen        int
	perDestination int
	idleTimeout    time.Duration
	open           func(ctx context.Context, to Destination) (*smtpConn, error)

	mu     sync.Mutex
	idle   []*smtpConn         // newest last
	counts map[Destination]int // connections
	total  int
	freed  chan struct{} // closed when a connection is returned or closed; nil while nobody waits
	closed bool
}

func newPool(maxOpen, perDestination int, idleTimeout time.Duration, open func(context.Context, Destination) (*smtpConn, error)) *pool {
	return &pool{maxOpen: maxOpen, perDestination: cmp.Or(perDestination, maxOpen), idleTimeout: idleTimeout, open: open, counts: make(map[Destination]int)}
}

// get returns the destination's most recently used connection, or opens one.
func (p *pool) get(ctx context.Context, to Destination) (*smtpConn, error) {
	for {
		conn, room, freed := p.tryGet(to)
		switch {
		case conn != nil && conn.to == to:
			return conn, nil
		case conn != nil:
			p.quit(conn)
			continue
		case room:
			return p.openNew(ctx, to)
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return nil, errBusy
		}
	}
}

// tryGet returns the first of these that there is: an idle connection to the
// destination; room for a new one; an idle connection to another destination, which
// the caller closes to make room; a channel that is closed when a connection is freed.
func (p *pool) tryGet(to Destination) (conn *smtpConn, room bool, freed <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, conn := range slices.Backward(p.idle) {
		if conn.to == to && p.takeIdle(i) {
			return conn, false, nil
		}
	}
	if p.counts[to] < p.perDestination {
		if p.total < p.maxOpen {
			p.counts[to]++
			p.total++
			return nil, true, nil
		}
		for i, conn := range p.idle {
			if p.takeIdle(i) {
				return conn, false, nil
			}
		}
	}
	if p.freed == nil {
		p.freed = make(chan struct{})
	}
	return nil, false, p.freed
}

// takeIdle removes an idle connection from the pool, unless it is expiring. The
// caller holds mu.
func (p *pool) takeIdle(i int) bool {
	if !p.idle[i].expiry.Stop() {
		return false
	}
	p.idle = slices.Delete(p.idle, i, i+1)
	return true
}

// openNew opens a connection for which there is room.
func (p *pool) openNew(ctx context.Context, to Destination) (*smtpConn, error) {
	conn, err := p.open(ctx, to)
	if err != nil {
		p.freeSlot(to)
		return nil, err
	}
	conn.to = to
	return conn, nil
}

// put returns a connection for reuse, if it is usable.
func (p *pool) put(conn *smtpConn) {
	if !conn.client.Usable() {
		p.drop(conn)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		go p.quit(conn)
		return
	}
	conn.used = true
	conn.expiry = time.AfterFunc(p.idleTimeout, func() { p.expire(conn) })
	p.idle = append(p.idle, conn)
	p.wake()
}

// drop closes a connection that is not reusable.
func (p *pool) drop(conn *smtpConn) {
	conn.client.Close()
	p.freeSlot(conn.to)
}

// quit sends QUIT and closes a connection.
func (p *pool) quit(conn *smtpConn) {
	conn.client.Quit()
	p.freeSlot(conn.to)
}

// freeSlot makes room for another connection.
func (p *pool) freeSlot(to Destination) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.total--
	if p.counts[to]--; p.counts[to] == 0 {
		delete(p.counts, to)
	}
	p.wake()
}

// wake wakes all waiters. The caller holds mu.
func (p *pool) wake() {
	if p.freed != nil {
		close(p.freed)
		p.freed = nil
	}
}

// expire closes a connection that was idle for idleTimeout.
func (p *pool) expire(conn *smtpConn) {
	p.mu.Lock()
	p.idle = slices.DeleteFunc(p.idle, func(idle *smtpConn) bool { return idle == conn })
	p.mu.Unlock()
	p.quit(conn)
}

func (p *pool) close() {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.closed = nil, true
	p.mu.Unlock()
	var ending sync.WaitGroup
	for _, conn := range idle {
		if conn.expiry.Stop() {
			ending.Go(func() { p.quit(conn) })
		}
	}
	ending.Wait()
}
