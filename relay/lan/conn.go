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

// clientConn is a client's connection with the time limits of its session.
type clientConn struct {
	net.Conn
	sessions      *sessions
	client        netip.Addr
	begun         time.Time
	messages      atomic.Int64
	receiving     atomic.Bool // a message is being received
	draining      atomic.Bool // only the current message is still read
	readEnded     atomic.Bool // a read returned EOF or failed
	closeOnce     sync.Once
	pending       []byte    // read from the network but not yet returned
	block         []byte    // backing array of pending
	raw           bool      // the data is TLS records
	quit          bool      // the client sent QUIT and nothing after it
	partialReply  []byte    // lines of a reply before its last one
	readDeadline  time.Time // the deadline set on the connection
	writeDeadline time.Time // the deadline set on the connection
	tls           bool      // implicit TLS
	hasRead       bool      // something was read
}

// underlying returns the clientConn below TLS.
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

// endAfterReply ends the session after the next reply.
func (c *clientConn) endAfterReply() { c.draining.Store(true) }

// Read returns at most one command line, so that a command parser never buffers
// the content that follows.
func (c *clientConn) Read(p []byte) (int, error) {
	n, err := c.read(p)
	if n > 0 && !c.hasRead {
		c.hasRead = true
		if !c.tls && p[0] == tlsHandshake {
			c.recordTLSFirst()
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

// line returns the part of pending that Read may return.
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

// next returns the pending data, or reads into block.
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

// fetch reads from the network within the session's time limits.
func (c *clientConn) fetch(p []byte) (int, error) {
	n, err := c.fetchOnce(p)
	if err != nil {
		c.readEnded.Store(true)
	}
	return n, err
}

func (c *clientConn) fetchOnce(p []byte) (int, error) {
	deadline := time.Now().Add(c.sessions.limits.Idle)
	if end := c.begun.Add(c.sessions.limits.Session); end.Before(deadline) {
		deadline = end
	}
	if c.draining.Load() || c.deadlineDiffers(deadline, c.readDeadline) {
		if err := c.Conn.SetReadDeadline(deadline); err != nil {
			return 0, err
		}
		c.readDeadline = deadline
	}
	// Checked after the deadline is set, because drain sets the flag first.
	if c.draining.Load() && !c.receiving.Load() {
		return 0, io.EOF
	}
	return c.Conn.Read(p)
}

// deadlineDiffers reports whether a deadline differs enough from the current
// one to be set, which is expensive.
func (c *clientConn) deadlineDiffers(deadline, set time.Time) bool {
	return deadline.Sub(set).Abs() > min(c.sessions.limits.Idle/16, time.Second)
}

// Write writes within the session's time limits. A multiline reply is sent in
// one write; go-smtp would send each line separately.
func (c *clientConn) Write(p []byte) (int, error) {
	if !c.raw && isContinuation(p) {
		c.partialReply = append(c.partialReply, p...)
		return len(p), nil
	}
	deadline := time.Now().Add(c.sessions.limits.Idle)
	if c.deadlineDiffers(deadline, c.writeDeadline) {
		if err := c.Conn.SetWriteDeadline(deadline); err != nil {
			return 0, err
		}
		c.writeDeadline = deadline
	}
	if len(c.partialReply) == 0 {
		return c.Conn.Write(p)
	}
	whole := append(c.partialReply, p...)
	c.partialReply = c.partialReply[:0]
	if _, err := c.Conn.Write(whole); err != nil {
		return 0, err
	}
	return len(p), nil
}

// isContinuation reports whether a line is not the last of a reply (RFC 5321
// section 4.2.1).
func isContinuation(line []byte) bool {
	return len(line) > len("250-\r\n") && line[3] == '-' && line[len(line)-1] == '\n'
}

// Close ends the session. A client that is still sending gets time to read the
// last reply: with unread input the kernel would discard it.
func (c *clientConn) Close() error {
	var err error
	c.closeOnce.Do(func() {
		c.sessions.leave(c)
		c.sessions.journal.SessionEnded(c.client, int(c.messages.Load()), time.Since(c.begun))
		if !c.readEnded.Load() && !c.quit {
			lingerClose(c.Conn)
		}
		err = c.Conn.Close()
	})
	return err
}

// lingerTime is how long a client may take to read the last reply.
const lingerTime = time.Second

// lingerClose closes the sending side and waits for the client to close.
func lingerClose(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
	}
	_ = conn.SetReadDeadline(time.Now().Add(lingerTime))
	_, _ = io.Copy(io.Discard, conn)
}

// tlsEOFDelay is how long after the TLS close_notify the end of the TCP
// connection may arrive.
const tlsEOFDelay = 100 * time.Millisecond

// disconnected reports whether the client has closed the connection, or its
// sending side. With TLS it waits a moment for that.
func (c *clientConn) disconnected(secure bool) bool {
	timeout := time.Duration(0)
	if secure {
		timeout = tlsEOFDelay
	}
	for begun := time.Now(); !c.readEnded.Load() && !c.atEnd(); time.Sleep(time.Millisecond) {
		if time.Since(begun) >= timeout {
			return false
		}
	}
	return true
}

// atEnd reports whether the next read would return EOF.
func (c *clientConn) atEnd() bool {
	tcp, ok := c.Conn.(*net.TCPConn)
	if !ok {
		return false
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return true
	}
	eof := false
	err = raw.Control(func(fd uintptr) {
		n, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		eof = n == 0 && err == nil
	})
	return eof || err != nil
}
