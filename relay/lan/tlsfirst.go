package lan

import (
	"net/netip"
	"time"
)

// A device set to "SSL" begins with TLS on any port, but an SMTP server speaks
// first. Our greeting makes its first attempt fail, but its ClientHello is
// recognised; later connections from that address may speak first for a moment.

// tlsHandshake is the first octet of a TLS ClientHello (RFC 8446 section 5.1).
const tlsHandshake = 0x16

// A client that began with TLS before may take helloTimeout to do so again. Once a
// client of the same address did not, the relay waits only mixedTimeout for each, which
// is enough for a ClientHello on a LAN. An address is forgotten after
// tlsFirstMemory without TLS.
const (
	helloTimeout   = time.Second
	mixedTimeout   = 100 * time.Millisecond
	tlsFirstMemory = 24 * time.Hour
)

// tlsFirst is an address from which a client began with TLS.
type tlsFirst struct {
	wait time.Duration // for a ClientHello
	last time.Time     // when one began with TLS
}

// useTLSIfFirst begins TLS if the client does.
func (s *Server) useTLSIfFirst(c *clientConn) {
	wait := s.sessions.helloWait(c.client)
	if wait == 0 {
		return
	}
	if c.peekHello(wait) {
		c.useTLS()
	}
	s.sessions.recordHello(c.client, c.secure.Load())
}

// peekHello reports whether a ClientHello arrives in time.
func (c *clientConn) peekHello(wait time.Duration) bool {
	first := make([]byte, 1)
	_ = c.Conn.SetReadDeadline(time.Now().Add(wait))
	n, _ := c.Conn.Read(first)
	c.pending = first[:n]
	return n == 1 && first[0] == tlsHandshake
}

// recordTLSFirst records that the client's address begins with TLS.
func (c *clientConn) recordTLSFirst() {
	const maxClients = 1024
	s := c.sessions
	s.mu.Lock()
	if len(s.tlsFirst) >= maxClients {
		clear(s.tlsFirst)
	}
	s.tlsFirst[c.client] = tlsFirst{helloTimeout, time.Now()}
	s.mu.Unlock()
	s.journal.TLSFirst(c.client)
}

// helloWait is how long to wait for a ClientHello; 0 means not at all.
func (s *sessions) helloWait(client netip.Addr) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.tlsFirst[client]
	if time.Since(known.last) > tlsFirstMemory {
		delete(s.tlsFirst, client)
		return 0
	}
	return known.wait
}

// recordHello records whether a client of an address with a wait began with TLS.
func (s *sessions) recordHello(client netip.Addr, secure bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known, ok := s.tlsFirst[client]
	switch {
	case !ok:
		return
	case secure:
		known.last = time.Now()
	default:
		known.wait = mixedTimeout
	}
	s.tlsFirst[client] = known
}
