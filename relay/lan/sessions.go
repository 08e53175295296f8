package lan

import (
	"net"
	"net/netip"
	"sync"
	"time"

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
	clients  map[netip.Addr]int
	tlsFirst map[netip.Addr]struct{} // clients that began with TLS on a plain port
	draining bool
}

func newSessions(config *Config, j *journal.Journal) *sessions {
	const maxRejects = 32
	return &sessions{config: config, limits: config.Limits, journal: j, rejectSlots: make(slots, maxRejects),
		open: make(map[*clientConn]struct{}), clients: make(map[netip.Addr]int), tlsFirst: make(map[netip.Addr]struct{})}
}

// admit opens a session, or returns the reply for a rejected client.
func (s *sessions) admit(conn net.Conn, client netip.Addr) (*clientConn, reply.Reply, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.draining:
		return nil, reply.New(421, 3, 2, "the relay is stopping, try again later"), false
	case len(s.open) >= s.limits.Connections:
		return nil, reply.New(421, 3, 2, "too many connections, try again later"), false
	case s.clients[client] >= s.limits.PerClient:
		return nil, reply.New(421, 7, 0, "too many connections from %s, try again later", client), false
	}
	c := newClientConn(conn, client, s)
	s.open[c] = struct{}{}
	s.clients[client]++
	return c, reply.Reply{}, true
}

func (s *sessions) leave(c *clientConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
	if s.clients[c.client]--; s.clients[c.client] == 0 {
		delete(s.clients, c.client)
	}
}

// drain ends every session at its next command, idle ones at once.
func (s *sessions) drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draining = true
	for c := range s.open {
		c.endAfterReply()
		if !c.receiving.Load() {
			_ = c.Conn.SetReadDeadline(time.Now())
		}
	}
}

func (s *sessions) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.open {
		_ = c.Conn.Close()
	}
}
