package lan

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"sealpost/relay/envelope"
	"sealpost/relay/journal"
	"sealpost/relay/policy"
	"sealpost/relay/reply"
)

// sessions tracks the open connections.
type sessions struct {
	config      *Config
	limits      Limits
	journal     *journal.Journal
	rejectSlots slots

	mu         sync.Mutex
	open       map[*clientConn]struct{}
	clients    map[netip.Prefix]int
	rates      map[netip.Prefix]*rate
	tlsHistory map[listenerClient]tlsHistory
	draining   bool
}

func newSessions(config *Config, j *journal.Journal) *sessions {
	const maxRejects = 32
	return &sessions{config: config, limits: config.Limits, journal: j, rejectSlots: make(slots, maxRejects),
		open: make(map[*clientConn]struct{}), clients: make(map[netip.Prefix]int),
		rates: make(map[netip.Prefix]*rate), tlsHistory: make(map[listenerClient]tlsHistory)}
}

// admit opens a session, or returns the reply for a rejected client. If there are
// too many connections it ends an idle one.
func (s *sessions) admit(conn net.Conn, who policy.Client, access policy.Access) (*clientConn, reply.Reply, bool) {
	client := who.Address
	most := limit(access.Device.Limits.Connections, s.limits.PerClient)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.draining:
		return nil, reply.New(421, 3, 2, "the relay is stopping, try again later"), false
	case s.clients[countedAs(client, access)] >= most:
		return nil, reply.New(421, 7, 0, "too many connections from %s, try again later", client), false
	case len(s.open) >= s.limits.Connections && !s.evict():
		return nil, reply.New(421, 3, 2, "too many connections, try again later"), false
	}
	c := newClientConn(conn, who, access, s)
	s.open[c] = struct{}{}
	s.clients[c.counted]++
	return c, reply.Reply{}, true
}

// countedAs is what the limits on a client count: a device that is listed by its address,
// or else the client's network, in which others must not use up what a listed one may do.
func countedAs(client netip.Addr, access policy.Access) netip.Prefix {
	if listed := access.Device.Clients; listed.IsValid() && listed.IsSingleIP() {
		return listed
	}
	return envelope.ClientNetwork(client)
}

// limit returns the limit of a device, or else that of every client.
func limit[T int | int64](ofDevice, ofAll T) T {
	if ofDevice > 0 {
		return ofDevice
	}
	return ofAll
}

// rate counts the messages of one client.
type rate struct {
	begun time.Time // of the current minute
	count int
}

// maxRates is how many clients' rates are kept.
const maxRates = 4096

// countMessage counts a message of a client, and reports whether it exceeds the limit,
// which is a number of messages in a minute; 0 means none.
func (s *sessions) countMessage(client netip.Prefix, most int) (tooMany bool) {
	if most == 0 {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	r := s.rates[client]
	if r == nil || now.Sub(r.begun) >= time.Minute {
		if len(s.rates) >= maxRates {
			clear(s.rates)
		}
		r = &rate{begun: now}
		s.rates[client] = r
	}
	r.count++
	return r.count > most
}

// evict ends the session that has been idle for longest without sending a message, among
// the clients with most connections, so that a client that opens many does not displace
// others. It reports whether there is one.
func (s *sessions) evict() bool {
	var victim *clientConn
	for c := range s.open {
		if c.isBusy() {
			continue
		}
		if victim != nil {
			count, most := s.clients[c.counted], s.clients[victim.counted]
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

// isBusy reports whether a session makes progress with a message, at the pace of the
// slowest device.
func (c *clientConn) isBusy() bool {
	// The time that a client may take from MAIL to DATA, and between two parts of content;
	// and the octets of content in a second that it must send after that time.
	const transaction, content, slowest = 10 * time.Second, 30 * time.Second, 1 << 10
	switch {
	case c.accepting.Load():
		return true
	case !c.receiving.Load():
		return c.inTransaction.Load() && since(&c.mailAt) < transaction
	}
	taken := since(&c.contentAt)
	return since(&c.lastRead) < content && (taken < content || float64(c.octets.Load()-c.contentFrom.Load()) >= slowest*taken.Seconds())
}

func since(at *atomic.Int64) time.Duration { return time.Since(time.Unix(0, at.Load())) }

// beginContent records that the content of a message follows.
func (c *clientConn) beginContent() {
	c.contentAt.Store(time.Now().UnixNano())
	c.contentFrom.Store(c.octets.Load())
	c.receiving.Store(true)
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
	if s.clients[c.counted]--; s.clients[c.counted] == 0 {
		delete(s.clients, c.counted)
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
