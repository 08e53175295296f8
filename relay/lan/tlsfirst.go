package lan

import (
	"crypto/tls"
	"net"
	"net/netip"
	"time"
)

// A device set to "SSL" begins with TLS on whatever port it was given, while
// an SMTP server is the first to speak. Its hello is recognised when our
// greeting has spoilt the attempt already; from then on the box lets clients
// of that address speak first, for a moment.

// tlsHandshake is the first octet of a TLS hello (RFC 8446 section 5.1).
const tlsHandshake = 0x16

// helloPatience is how long a client of an address that has begun with TLS
// before may take to do so.
const helloPatience = time.Second

// wrapAsBefore begins with TLS where the client does.
func (s *Server) wrapAsBefore(c *clientConn) net.Conn {
	if s.sessions.haveBegunWithTLS(c.client) && c.peekHello() {
		return s.inTLS(c)
	}
	return c
}

func (s *Server) inTLS(c *clientConn) net.Conn {
	c.tls, c.raw = true, true
	return tls.Server(c, s.config.TLS)
}

// peekHello tells whether a TLS hello comes in time.
func (c *clientConn) peekHello() bool {
	first := make([]byte, 1)
	_ = c.Conn.SetReadDeadline(time.Now().Add(helloPatience))
	n, _ := c.Conn.Read(first)
	c.pending = first[:n]
	return n == 1 && first[0] == tlsHandshake
}

// beginsWithTLS remembers the client's address.
func (c *clientConn) beginsWithTLS() {
	const most = 1024
	s := c.sessions
	s.mu.Lock()
	if len(s.tlsFirst) >= most {
		clear(s.tlsFirst)
	}
	s.tlsFirst[c.client] = struct{}{}
	s.mu.Unlock()
	s.journal.TLSFirst(c.client)
}

func (s *sessions) haveBegunWithTLS(client netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, known := s.tlsFirst[client]
	return known
}
