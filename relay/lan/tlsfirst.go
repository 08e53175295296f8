package lan

import (
	"net/netip"
	"time"
)

// An SMTP server speaks first, a TLS client does too: a device set to "SSL" on a port for
// STARTTLS, or to STARTTLS on the port for implicit TLS, would wait for ever. So the relay
// waits a moment for the ClientHello of an address that it does not know on that
// port, and remembers what its clients do.

// tlsHandshake is the first octet of a TLS ClientHello (RFC 8446 section 5.1).
const tlsHandshake = 0x16

// How long the relay waits for a ClientHello, which arrives within milliseconds on a
// LAN, before it greets in clear text.
const (
	unknownTimeout = 250 * time.Millisecond // on a port for STARTTLS
	helloTimeout   = time.Second            // an address that began with TLS before
	mixedTimeout   = 100 * time.Millisecond // one of which other clients do not
	smtpsTimeout   = 3 * time.Second        // on a port for implicit TLS
)

// helloMemory is how long the relay remembers an address.
const helloMemory = 24 * time.Hour

// maxHellos is how many addresses it remembers.
const maxHellos = 4096

// hello is a client's address and the listener that it connects to.
type hello struct {
	client   netip.Addr
	listener string
}

// begins is what clients of an address did.
type begins struct {
	wait time.Duration // for a ClientHello; 0 means none
	last time.Time
}

func (c *clientConn) hello() hello { return hello{c.client, c.listener} }

// useTLSIfFirst begins TLS if the client does.
func (s *Server) useTLSIfFirst(c *clientConn) {
	if wait := s.sessions.helloWait(c.hello(), c.smtps); wait > 0 {
		if c.peekHello(wait) {
			c.useTLS()
		}
		s.sessions.recordHello(c)
	}
}

// peekHello reports whether a ClientHello arrives in time.
func (c *clientConn) peekHello(wait time.Duration) bool {
	first := make([]byte, 1)
	_ = c.Conn.SetReadDeadline(time.Now().Add(wait))
	n, _ := c.Conn.Read(first)
	c.pending = first[:n]
	if n == 1 && first[0] != tlsHandshake {
		c.quirk("commands before the greeting")
	}
	return n == 1 && first[0] == tlsHandshake
}

// helloWait is how long to wait for a ClientHello.
func (s *sessions) helloWait(key hello, smtps bool) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	known, ok := s.hellos[key]
	switch {
	case ok && time.Since(known.last) < helloMemory:
		return known.wait
	case smtps:
		return smtpsTimeout
	}
	return unknownTimeout
}

// recordHello records whether a client began with TLS.
func (s *sessions) recordHello(c *clientConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known, ok := s.hellos[c.hello()]
	known.last = time.Now()
	switch {
	case c.secure.Load():
		known.wait = max(known.wait, helloTimeout)
		if c.smtps {
			known.wait = smtpsTimeout
		}
	case ok && known.wait > 0, c.smtps:
		known.wait = mixedTimeout
	}
	s.remember(c.hello(), known)
}

// remember stores what an address does. The caller holds s.mu.
func (s *sessions) remember(key hello, known begins) {
	if len(s.hellos) >= maxHellos {
		clear(s.hellos)
	}
	s.hellos[key] = known
}

// recordLateHello records a client whose ClientHello came after our greeting, so that
// its next attempt succeeds.
func (c *clientConn) recordLateHello() {
	s := c.sessions
	s.mu.Lock()
	s.remember(c.hello(), begins{smtpsTimeout, time.Now()})
	s.mu.Unlock()
	s.journal.TLSFirst(c.client)
}
