package lan

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"sealpost/relay/envelope"
	"sealpost/relay/journal"
	"sealpost/relay/reply"
)

// sessions tracks the open connections.
type sessions struct {
	config      *Config
	limits      Limits
	journal     *journal.Journal
	rejectSlots slots

	mu       sync.Mutex
	open     map[*clientConn]struct{}
	clients  map[netip.Prefix]int
	tlsFirst map[netip.Addr]tlsFirst // addresses from which clients began with TLS on a plain port
	draining bool
}

func newSessions(config *Config, j *journal.Journal) *sessions {
	const maxRejects = 32
	return &sessions{config: config, limits: config.Limits, journal: j, rejectSlots: make(slots, maxRejects),
		open: make(map[*clientConn]struct{}), clients: make(map[netip.Prefix]int), tlsFirst: make(map[netip.Addr]tlsFirst)}
}

// admit opens a session, or returns the reply for a rejected client. If there are
// too many connections it ends an idle one.
func (s *sessions) admit(conn net.Conn, client netip.Addr) (*clientConn, reply.Reply, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.draining:
		return nil, reply.New(421, 3, 2, "the relay is stopping, try again later"), false
	case s.clients[envelope.ClientNetwork(client)] >= s.limits.PerClient:
		return nil, reply.New(421, 7, 0, "too many connections from %s, try again later", client), false
	case len(s.open) >= s.limits.Connections && !s.evict():
		return nil, reply.New(421, 3, 2, "too many connections, try again later"), false
	}
	c := newClientConn(conn, client, s)
	s.open[c] = struct{}{}
	s.clients[envelope.ClientNetwork(client)]++
	return c, reply.Reply{}, true
}

// evict ends the session that has been idle for longest without sending a message, among
// the clients with most connections, so that a client that opens many does not displace
// others. It reports whether there is one.
func (s *sessions) evict() bool {
	// The time that a client may take from MAIL to DATA, and between two parts of content.
	const transaction, content = 10 * time.Second, 30 * time.Second
	since := func(at *atomic.Int64) time.Duration { return time.Since(time.Unix(0, at.Load())) }
	var victim *clientConn
	for c := range s.open {
		if c.accepting.Load() || c.receiving.Load() && since(&c.lastRead) < content ||
			!c.receiving.Load() && c.inTransaction.Load() && since(&c.mailAt) < transaction {
			continue
		}
		if victim != nil {
			count, most := s.clients[envelope.ClientNetwork(c.client)], s.clients[envelope.ClientNetwork(victim.client)]
			if count < most || count == most && c.lastRead.Load() >= victim.lastRead.Load() {
				continue
			}
		}
		victim = c
	}
	if victim == nil {
		return false
	}
	s.forget(victim)
	victim.end()
	return true
}

func (s *sessions) leave(c *clientConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(c)
}

// forget takes a session off the limits. The caller holds s.mu.
func (s *sessions) forget(c *clientConn) {
	if _, known := s.open[c]; !known {
		return
	}
	delete(s.open, c)
	from := envelope.ClientNetwork(c.client)
	if s.clients[from]--; s.clients[from] == 0 {
		delete(s.clients, from)
	}
}

// drain ends every session at its next command, idle ones at once.
func (s *sessions) drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draining = true
	for c := range s.open {
		c.end()
	}
}

func (s *sessions) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.open {
		_ = c.Conn.Close()
	}
}
