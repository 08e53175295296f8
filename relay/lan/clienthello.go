package lan

import (
	"net/netip"
	"time"
)

// In SMTP the server sends first, in TLS the client. A device set to "SSL" on a port for
// STARTTLS, or to STARTTLS on the port for implicit TLS, would wait for the relay, and the
// relay for the device. So the relay waits a moment for the ClientHello of an address that
// it does not know on that port, and remembers what its clients do.

// tlsHandshake is the first octet of a TLS ClientHello (RFC 8446 section 5.1).
const tlsHandshake = 0x16

// How long the relay waits for a ClientHello, which arrives within milliseconds on a
// LAN, before it greets in clear text.
const (
	unknownWait = 250 * time.Millisecond // on a port for STARTTLS
	tlsWait     = time.Second            // an address that began with TLS before
	mixedWait   = 100 * time.Millisecond // one of which other clients do not
	smtpsWait   = 3 * time.Second        // on a port for implicit TLS
)

// tlsHistoryAge is how long the relay remembers an address.
const tlsHistoryAge = 24 * time.Hour

// maxTLSHistory is how many addresses it remembers.
const maxTLSHistory = 4096

// listenerClient is a client's address and the listener that it connects to.
type listenerClient struct {
	client   netip.Addr
	listener string
}

// tlsHistory is what clients of an address did.
type tlsHistory struct {
	wait time.Duration // for a ClientHello; 0 means none
	last time.Time
}

func (c *clientConn) listenerClient() listenerClient { return listenerClient{c.client, c.listener} }

// detectTLS begins TLS if the client does.
func (s *Server) detectTLS(c *clientConn) {
	if wait := s.sessions.clientHelloWait(c.listenerClient(), c.smtps); wait > 0 {
		if c.receivesClientHello(wait) {
			c.useTLS()
		}
		s.sessions.recordClientHello(c)
	}
}

// receivesClientHello reports whether a ClientHello arrives in time.
func (c *clientConn) receivesClientHello(wait time.Duration) bool {
	first := make([]byte, ssl2Prefix) // enough to recognise a ClientHello of SSL 2.0 too
	_ = c.Conn.SetReadDeadline(time.Now().Add(wait))
	n, _ := c.Conn.Read(first)
	c.pending = first[:n]
	switch {
	case n == 0:
		return false
	case first[0] == tlsHandshake:
		return true
	case !isSSL2(c.pending):
		c.quirk("commands before the greeting")
	}
	return false
}

// clientHelloWait is how long to wait for a ClientHello.
func (s *sessions) clientHelloWait(key listenerClient, smtps bool) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	known, ok := s.tlsHistory[key]
	switch {
	case ok && time.Since(known.last) < tlsHistoryAge:
		return known.wait
	case smtps:
		return smtpsWait
	}
	return unknownWait
}

// recordClientHello records whether a client began with TLS.
func (s *sessions) recordClientHello(c *clientConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known, ok := s.tlsHistory[c.listenerClient()]
	known.last = time.Now()
	switch {
	case c.secure.Load():
		known.wait = max(known.wait, tlsWait)
		if c.smtps {
			known.wait = smtpsWait
		}
	case ok && known.wait > 0, c.smtps:
		known.wait = mixedWait
	}
	s.remember(c.listenerClient(), known)
}

// remember stores what an address does. The caller holds s.mu.
func (s *sessions) remember(key listenerClient, known tlsHistory) {
	if len(s.tlsHistory) >= maxTLSHistory {
		clear(s.tlsHistory)
	}
	s.tlsHistory[key] = known
}

// recordLateClientHello records a client whose ClientHello came after our greeting, so that
// its next attempt succeeds.
func (c *clientConn) recordLateClientHello() {
	s := c.sessions
	s.mu.Lock()
	s.remember(c.listenerClient(), tlsHistory{smtpsWait, time.Now()})
	s.mu.Unlock()
	s.journal.TLSFirst(c.client)
}
