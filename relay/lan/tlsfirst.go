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

// helloTimeout is how long a client that began with TLS before may take to do
// so again.
const helloTimeout = time.Second

// useTLSIfFirst begins TLS if the client does.
func (s *Server) useTLSIfFirst(c *clientConn) {
	if s.sessions.isTLSFirst(c.client) && c.peekHello() {
		c.useTLS()
	}
}

// peekHello reports whether a ClientHello arrives in time.
func (c *clientConn) peekHello() bool {
	first := make([]byte, 1)
	_ = c.Conn.SetReadDeadline(time.Now().Add(helloTimeout))
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
	s.tlsFirst[c.client] = struct{}{}
	s.mu.Unlock()
	s.journal.TLSFirst(c.client)
}

func (s *sessions) isTLSFirst(client netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, known := s.tlsFirst[client]
	return known
}
