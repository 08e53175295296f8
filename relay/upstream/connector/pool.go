package connector

import (
	"context"
	"sync"
	"time"

	"sealpost/relay/journal"
	"sealpost/relay/upstream/esmtp"
)

// link is one open connection, ready for a transaction.
type link struct {
	client *esmtp.Client
	record journal.Connection
	used   bool // it has carried a transaction before
	expiry *time.Timer
}

// pool lends connections, at most size at once, and keeps those given back for
// a while.
type pool struct {
	slots chan struct{}
	keep  time.Duration
	open  func(context.Context) (*link, error)

	mu     sync.Mutex
	idle   []*link // newest last
	closed bool
}

func newPool(size int, keep time.Duration, open func(context.Context) (*link, error)) *pool {
	return &pool{slots: make(chan struct{}, size), keep: keep, open: open}
}

// take lends the connection used last, or opens one.
func (p *pool) take(ctx context.Context) (*link, error) {
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, errBusy
	}
	if l := p.newestIdle(); l != nil {
		return l, nil
	}
	l, err := p.open(ctx)
	if err != nil {
		<-p.slots
		return nil, err
	}
	return l, nil
}

func (p *pool) newestIdle() *link {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.idle) > 0 {
		l := p.idle[len(p.idle)-1]
		p.idle = p.idle[:len(p.idle)-1]
		if l.expiry.Stop() {
			return l
		}
	}
	return nil
}

// give takes a connection back for later use, if it is still fit for that.
func (p *pool) give(l *link) {
	if !l.client.Usable() {
		p.drop(l)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	<-p.slots
	if p.closed {
		go l.client.Quit()
		return
	}
	l.used = true
	l.expiry = time.AfterFunc(p.keep, func() { p.retire(l) })
	p.idle = append(p.idle, l)
}

// drop takes a connection back that is of no further use.
func (p *pool) drop(l *link) {
	l.client.Close()
	<-p.slots
}

// retire ends a connection that nobody wanted for long enough.
func (p *pool) retire(l *link) {
	p.mu.Lock()
	for i, idle := range p.idle {
		if idle == l {
			p.idle = append(p.idle[:i], p.idle[i+1:]...)
			break
		}
	}
	p.mu.Unlock()
	l.client.Quit()
}

func (p *pool) close() {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.closed = nil, true
	p.mu.Unlock()
	var ending sync.WaitGroup
	for _, l := range idle {
		if l.expiry.Stop() {
			ending.Go(l.client.Quit)
		}
	}
	ending.Wait()
}
