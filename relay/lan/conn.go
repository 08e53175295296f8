package lan

import (
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// clientConn is a client's connection with the session's time limits on it.
type clientConn struct {
	net.Conn
	sessions *sessions
	client   netip.Addr
	begun    time.Time
	messages atomic.Int64
	busy     atomic.Bool // a message is being taken
	ending   atomic.Bool // nothing more is to be read but a message under way
	cut      atomic.Bool // a read has come to the end or failed
	left     sync.Once
	peeked   []byte // read already, and to be read again
	tls      bool   // it begins with TLS
	heard    bool   // something was read from it
}

// underlying finds our connection below TLS.
func underlying(conn net.Conn) *clientConn {
	for {
		switch c := conn.(type) {
		case *clientConn:
			return c
		case *tls.Conn:
			conn = c.NetConn()
		}
	}
}

// endAfterReply has the client hear the reply to come and nothing after it.
func (c *clientConn) endAfterReply() { c.ending.Store(true) }

// Read reads within the time limits of the session.
func (c *clientConn) Read(p []byte) (int, error) {
	n, err := c.read(p)
	if err != nil {
		c.cut.Store(true)
	}
	if n > 0 && !c.heard {
		c.heard = true
		if !c.tls && p[0] == tlsHandshake {
			c.beginsWithTLS()
			return 0, io.EOF
		}
	}
	return n, err
}

func (c *clientConn) read(p []byte) (int, error) {
	if n := copy(p, c.peeked); n > 0 {
		c.peeked = c.peeked[n:]
		return n, nil
	}
	deadline := time.Now().Add(c.sessions.limits.Idle)
	if end := c.begun.Add(c.sessions.limits.Session); end.Before(deadline) {
		deadline = end
	}
	if err := c.Conn.SetReadDeadline(deadline); err != nil {
		return 0, err
	}
	// Looked at behind the deadline, as drain sets first one and then the other.
	if c.ending.Load() && !c.busy.Load() {
		return 0, io.EOF
	}
	return c.Conn.Read(p)
}

// Write writes within the time limits of the session.
func (c *clientConn) Write(p []byte) (int, error) {
	if err := c.Conn.SetWriteDeadline(time.Now().Add(c.sessions.limits.Idle)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// Close ends the session. A client that is still sending gets a moment to read
// our last words: unread input at the close would make the kernel take them
// back.
func (c *clientConn) Close() error {
	var err error
	c.left.Do(func() {
		c.sessions.leave(c)
		c.sessions.journal.SessionEnded(c.client, int(c.messages.Load()), time.Since(c.begun))
		if !c.cut.Load() {
			part(c.Conn)
		}
		err = c.Conn.Close()
	})
	return err
}

// partingTime is how long a client may take to read our last words.
const partingTime = time.Second

// part says that nothing more will come, and waits for the client to see it.
func part(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
	}
	_ = conn.SetReadDeadline(time.Now().Add(partingTime))
	_, _ = io.Copy(io.Discard, conn)
}

// farewellTime is how long the end of a TCP connection may come behind the
// farewell that TLS sends ahead of it.
const farewellTime = 100 * time.Millisecond

// brokenOff tells whether the client has gone, or has said that it sends no
// more. In TLS it is given a moment to do so.
func (c *clientConn) brokenOff(secure bool) bool {
	patience := time.Duration(0)
	if secure {
		patience = farewellTime
	}
	for begun := time.Now(); !c.cut.Load() && !c.atEnd(); time.Sleep(time.Millisecond) {
		if time.Since(begun) >= patience {
			return false
		}
	}
	return true
}

// atEnd tells whether the next read would find the end of the connection.
func (c *clientConn) atEnd() bool {
	tcp, ok := c.Conn.(*net.TCPConn)
	if !ok {
		return false
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return true
	}
	over := false
	err = raw.Control(func(fd uintptr) {
		n, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		over = n == 0 && err == nil
	})
	return over || err != nil
}
