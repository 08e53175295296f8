package lan

import (
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"time"
)

// A device set to "SSL" begins with TLS on whatever port it was given, while
// an SMTP server is the first to speak. Its hello is recognised when our
// greeting has spoilt the attempt already; the box remembers the device, and
// answers it in TLS from its next attempt on.

// helloPatience is how long a device that began with TLS the last time may
// take to do so again, before it is taken for one that does not any more.
const helloPatience = 5 * time.Second

// asBefore begins with TLS where the client did so the last time.
func (s *Server) asBefore(c *clientConn) net.Conn {
	if s.sessions.beginsWithTLS(c.client) {
		return s.inTLS(c)
	}
	return c
}

func (s *Server) inTLS(c *clientConn) net.Conn {
	c.tls = true
	return tls.Server(c, s.config.TLS)
}

func (s *sessions) beginsWithTLS(client netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, known := s.tlsFirst[client]
	return known
}

func (s *sessions) rememberTLS(client netip.Addr) {
	const most = 1024
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.tlsFirst) >= most {
		clear(s.tlsFirst)
	}
	s.tlsFirst[client] = struct{}{}
}

func (s *sessions) forgetTLS(client netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.tlsFirst, client)
}

// patience is how long the client may be silent.
func (c *clientConn) patience() time.Duration {
	if c.tls && !c.heard {
		return min(helloPatience, c.sessions.limits.Idle)
	}
	return c.sessions.limits.Idle
}

// firstHeard looks at what a client says first, or at its silence.
func (c *clientConn) firstHeard(p []byte, err error) (int, error) {
	const handshake = 0x16 // the record type of a TLS hello (RFC 8446 section 5.1)
	hello := len(p) > 0 && p[0] == handshake
	c.heard = len(p) > 0
	switch {
	case c.tls && !hello:
		c.sessions.forgetTLS(c.client)
	case !c.tls && hello:
		c.sessions.rememberTLS(c.client)
		c.sessions.journal.TLSFirst(c.client)
		return 0, io.EOF
	}
	return len(p), err
}
