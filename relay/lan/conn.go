package lan

import (
	"bytes"
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
	pending  []byte    // read from the network, and not handed on yet
	block    []byte    // what pending lies in
	raw      bool      // what comes is TLS's
	quit     bool      // the client said QUIT, and nothing came after it
	reply    []byte    // lines of a reply whose last one is to come
	reading  time.Time // the deadline that is set
	writing  time.Time // likewise
	tls      bool      // it begins with TLS
	heard    bool      // something was read from it
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

// Read gives one command line at most, so that whoever reads commands holds
// nothing of the content that follows them.
func (c *clientConn) Read(p []byte) (int, error) {
	n, err := c.read(p)
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
	if len(c.pending) == 0 && c.raw {
		return c.fetch(p)
	}
	if len(c.pending) == 0 {
		const commands = 4 << 10
		if c.block == nil {
			c.block = make([]byte, commands)
		}
		n, err := c.fetch(c.block)
		if c.pending = c.block[:n]; n == 0 {
			return 0, err
		}
	}
	n := copy(p, c.line())
	c.pending = c.pending[n:]
	return n, nil
}

// line is what may be handed on of what is pending.
func (c *clientConn) line() []byte {
	end := bytes.IndexByte(c.pending, '\n') + 1
	if c.raw || end == 0 {
		return c.pending
	}
	line := c.pending[:end]
	verb := bytes.TrimSpace(line)
	c.raw = bytes.EqualFold(verb, []byte("STARTTLS"))
	c.quit = bytes.EqualFold(verb, []byte("QUIT")) && end == len(c.pending)
	return line
}

// next gives what comes next, in block where it has to be read first.
func (c *clientConn) next(block []byte) ([]byte, error) {
	if part := c.pending; len(part) > 0 {
		c.pending = nil
		return part, nil
	}
	n, err := c.fetch(block)
	if n > 0 {
		err = nil
	}
	return block[:n], err
}

// fetch reads from the network within the time limits of the session.
func (c *clientConn) fetch(p []byte) (int, error) {
	n, err := c.fetchOnce(p)
	if err != nil {
		c.cut.Store(true)
	}
	return n, err
}

func (c *clientConn) fetchOnce(p []byte) (int, error) {
	deadline := time.Now().Add(c.sessions.limits.Idle)
	if end := c.begun.Add(c.sessions.limits.Session); end.Before(deadline) {
		deadline = end
	}
	if c.ending.Load() || c.differ(deadline, c.reading) {
		if err := c.Conn.SetReadDeadline(deadline); err != nil {
			return 0, err
		}
		c.reading = deadline
	}
	// Looked at behind the deadline, as drain sets first one and then the other.
	if c.ending.Load() && !c.busy.Load() {
		return 0, io.EOF
	}
	return c.Conn.Read(p)
}

// differ tells whether a deadline is far enough from the one that is set to be
// set itself, which costs more than it looks.
func (c *clientConn) differ(deadline, set time.Time) bool {
	return deadline.Sub(set).Abs() > min(c.sessions.limits.Idle/16, time.Second)
}

// Write writes within the time limits of the session. A reply of several lines
// goes out in one piece: go-smtp would send each line by itself.
func (c *clientConn) Write(p []byte) (int, error) {
	if !c.raw && continues(p) {
		c.reply = append(c.reply, p...)
		return len(p), nil
	}
	deadline := time.Now().Add(c.sessions.limits.Idle)
	if c.differ(deadline, c.writing) {
		if err := c.Conn.SetWriteDeadline(deadline); err != nil {
			return 0, err
		}
		c.writing = deadline
	}
	if len(c.reply) == 0 {
		return c.Conn.Write(p)
	}
	whole := append(c.reply, p...)
	c.reply = c.reply[:0]
	if _, err := c.Conn.Write(whole); err != nil {
		return 0, err
	}
	return len(p), nil
}

// continues recognises a line of a reply that is not the last one (RFC 5321
// section 4.2.1).
func continues(line []byte) bool {
	return len(line) > len("250-\r\n") && line[3] == '-' && line[len(line)-1] == '\n'
}

// Close ends the session. A client that is still sending gets a moment to read
// our last words: unread input at the close would make the kernel take them
// back.
func (c *clientConn) Close() error {
	var err error
	c.left.Do(func() {
		c.sessions.leave(c)
		c.sessions.journal.SessionEnded(c.client, int(c.messages.Load()), time.Since(c.begun))
		if !c.cut.Load() && !c.quit {
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
