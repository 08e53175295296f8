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

// link is one open connection, ready for a transaction.
type link struct {
	to     Destination
	client *esmtp.Client
	record journal.Connection
	used   bool // it has carried a transaction before
	expiry *time.Timer
}

// stale tells whether the answer to MAIL, zero where none came, is that of a
// kept connection that the server closed or whose login it has forgotten.
func (l *link) stale(mail reply.Reply) bool {
	const loginRequired = 530
	return l.used && (mail.Code == 0 || mail.Code == esmtp.ServiceClosing || mail.Code == loginRequired && l.record.Account != "")
}

// pool lends connections, so many at once in all and to one destination, and
// keeps those given back for a while. One counts until its end is known.
type pool struct {
	most           int
	perDestination int
	keep           time.Duration
	open           func(ctx context.Context, to Destination) (*link, error)

	mu     sync.Mutex
	idle   []*link             // newest last
	counts map[Destination]int // connections
	total  int
	freed  chan struct{} // closed when one is given back or has ended; made for the first who waits
	closed bool
}

func newPool(most, perDestination int, keep time.Duration, open func(context.Context, Destination) (*link, error)) *pool {
	return &pool{most: most, perDestination: cmp.Or(perDestination, most), keep: keep, open: open, counts: make(map[Destination]int)}
}

// take lends the destination's connection used last, or opens one.
func (p *pool) take(ctx context.Context, to Destination) (*link, error) {
	for {
		l, room, freed := p.claim(to)
		switch {
		case l != nil && l.to == to:
			return l, nil
		case l != nil:
			p.quit(l)
			continue
		case room:
			return p.add(ctx, to)
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return nil, errBusy
		}
	}
}

// claim gives an idle connection to the destination; or room for a new one; or,
// where there would be room but for another's idle one, that; or else what to
// wait for.
func (p *pool) claim(to Destination) (l *link, room bool, freed <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, l := range slices.Backward(p.idle) {
		if l.to == to && p.pick(i) {
			return l, false, nil
		}
	}
	if p.counts[to] < p.perDestination {
		if p.total < p.most {
			p.counts[to]++
			p.total++
			return nil, true, nil
		}
		for i, l := range p.idle {
			if p.pick(i) {
				return l, false, nil
			}
		}
	}
	if p.freed == nil {
		p.freed = make(chan struct{})
	}
	return nil, false, p.freed
}

// pick takes an idle connection, unless it is being retired already. The caller
// holds mu.
func (p *pool) pick(i int) bool {
	if !p.idle[i].expiry.Stop() {
		return false
	}
	p.idle = slices.Delete(p.idle, i, i+1)
	return true
}

// add opens a connection for which there is room.
func (p *pool) add(ctx context.Context, to Destination) (*link, error) {
	l, err := p.open(ctx, to)
	if err != nil {
		p.ended(to)
		return nil, err
	}
	l.to = to
	return l, nil
}

// give takes a connection back for later use, if it is still fit for that.
func (p *pool) give(l *link) {
	if !l.client.Usable() {
		p.drop(l)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		go p.quit(l)
		return
	}
	l.used = true
	l.expiry = time.AfterFunc(p.keep, func() { p.retire(l) })
	p.idle = append(p.idle, l)
	p.wake()
}

// drop takes a connection back that is of no further use.
func (p *pool) drop(l *link) {
	l.client.Close()
	p.ended(l.to)
}

// quit ends a connection that was not lent.
func (p *pool) quit(l *link) {
	l.client.Quit()
	p.ended(l.to)
}

// ended makes room for another connection.
func (p *pool) ended(to Destination) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.total--
	if p.counts[to]--; p.counts[to] == 0 {
		delete(p.counts, to)
	}
	p.wake()
}

// wake lets everybody who waits look again. The caller holds mu.
func (p *pool) wake() {
	if p.freed != nil {
		close(p.freed)
		p.freed = nil
	}
}

// retire ends a connection that nobody wanted for long enough.
func (p *pool) retire(l *link) {
	p.mu.Lock()
	p.idle = slices.DeleteFunc(p.idle, func(idle *link) bool { return idle == l })
	p.mu.Unlock()
	p.quit(l)
}

func (p *pool) close() {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.closed = nil, true
	p.mu.Unlock()
	var ending sync.WaitGroup
	for _, l := range idle {
		if l.expiry.Stop() {
			ending.Go(func() { p.quit(l) })
		}
	}
	ending.Wait()
}
