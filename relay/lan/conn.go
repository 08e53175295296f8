package lan

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"sealpost/relay/envelope"
	"sealpost/relay/policy"
)

// clientConn is a client's connection as go-smtp sees it, in clear and under TLS
// alike: commands arrive line by line, content is read without go-smtp, and each
// reply is sent in one write. go-smtp does not know whether TLS is in use.
type clientConn struct {
	net.Conn          // the network connection
	stream   net.Conn // the socket, or TLS on it
	server   *Server
	sessions *sessions
	client   netip.Addr
	counted  netip.Prefix // what the limits on the client count
	begun    time.Time
	listener string   // its address
	smtps    bool     // it is for implicit TLS
	observed observed // what the Recorder has not been told yet

	messages  atomic.Int64
	receiving atomic.Bool // a message is being received
	draining  atomic.Bool // only the current message is still read
	readEnded atomic.Bool // a read returned EOF or failed
	secure    atomic.Bool // TLS is in use
	// inTransaction is set from MAIL to the end of the message, and accepting while its
	// client waits for the last reply. mailAt and lastRead are the times of the
	// client's last MAIL and last input, in nanoseconds since 1970; 0 means never.
	inTransaction atomic.Bool
	accepting     atomic.Bool
	mailAt        atomic.Int64
	lastRead      atomic.Int64
	// octets is how many were read in all; contentAt and contentFrom are the time and octets
	// at which the content of the current message began.
	octets, contentAt, contentFrom atomic.Int64
	truncated                      atomic.Bool // the connection ended within a BDAT chunk
	closeOnce                      sync.Once
	closed                         atomic.Bool // go-smtp has ended the session

	// Only the goroutine that serves the connection uses these.
	block         []byte        // backing array of pending
	pending       []byte        // read but not yet used
	ready         []byte        // a command on its way to go-smtp
	chunk         int64         // octets of a BDAT chunk still to come
	chunksOpen    bool          // a BDAT without LAST was sent
	chunksAborted bool          // and then a command that aborts the transfer
	hasRecipient  bool          // the message has a recipient
	ended         bool          // nothing more is read
	chunkRefused  bool          // go-smtp has replied already and discards the chunk
	handshake     *tls.Conn     // to complete before the first octet
	hasRead       bool          // something was read
	idle          time.Duration // the time without input that ends the session; 0 means the limit
	identity      policy.Client // with its user
	access        policy.Access // when it connected
	needsEHLO     bool          // TLS began and EHLO has not come yet
	extended      bool          // the client sent EHLO
	greeted       bool          // it sent EHLO or HELO
	lastCommand   string        // the command of the next reply
	isHello       bool          // it is EHLO or HELO
	dropReply     bool          // the next reply is for a command of ours
	quit          bool          // the client sent QUIT and nothing after it
	mailDSN       envelope.DSN  // parameters of the MAIL on its way to go-smtp
	rcptDSN       envelope.RecipientDSN
	partialReply  []byte // lines of a reply before its last one
}

func newClientConn(conn net.Conn, client policy.Client, access policy.Access, s *sessions) *clientConn {
	c := &clientConn{Conn: conn, sessions: s, client: client.Address, counted: countedAs(client.Address, access), identity: client, access: access, begun: time.Now()}
	c.stream = &socket{Conn: conn, client: c}
	c.lastRead.Store(c.begun.UnixNano())
	return c
}

// useTLS begins TLS with what was read so far. The handshake is done before the
// next octet is read or written.
func (c *clientConn) useTLS() {
	config := c.sessions.config.TLS
	if c.access.LegacyTLS {
		config = c.sessions.config.LegacyTLS
	}
	c.handshake = tls.Server(&socket{Conn: c.Conn, client: c, read: bytes.Clone(c.pending)}, config)
	c.stream, c.pending = c.handshake, nil
	c.secure.Store(true)
	c.identity.Secure, c.identity.User = true, nil // RFC 3207 section 4.2
}

// completeHandshake does the TLS handshake if it is due. After a failed handshake
// nothing is read any more.
func (c *clientConn) completeHandshake() error {
	if c.handshake == nil {
		return nil
	}
	secure := c.handshake
	c.handshake = nil
	if err := secure.HandshakeContext(context.Background()); err != nil {
		c.readEnded.Store(true)
		c.handshakeFailed(withAdvice(err, c.access.LegacyTLS))
		return io.EOF
	}
	state := secure.ConnectionState()
	version := tls.VersionName(state.Version)
	c.observe(func(s *observed) { s.tls = version })
	if isLegacy(state) {
		c.sessions.journal.LegacyTLS(c.client, version, tls.CipherSuiteName(state.CipherSuite))
		c.quirk("legacy TLS")
	}
	return nil
}

// handshakeFailed records why, with what to do about it.
func (c *clientConn) handshakeFailed(err error) {
	c.sessions.journal.HandshakeFailed(c.client, err)
	c.record(0, "TLS handshake failed: "+err.Error())
}

// end ends the session, or lets its message finish first.
func (c *clientConn) end() {
	c.endAfterReply()
	if !c.accepting.Load() {
		_ = c.Conn.SetWriteDeadline(time.Now().Add(lingerTime))
	}
	if !c.receiving.Load() {
		_ = c.Conn.SetReadDeadline(time.Now())
	}
}

// endAfterReply ends the session after the next reply.
func (c *clientConn) endAfterReply() { c.draining.Store(true) }

// Read returns one command line, or content of a BDAT chunk.
func (c *clientConn) Read(p []byte) (int, error) {
	// go-smtp would execute what was pipelined, without a session.
	if c.ended || c.closed.Load() {
		return 0, io.EOF
	}
	if len(c.ready) == 0 && c.chunk > 0 {
		return c.readChunk(p)
	}
	for len(c.ready) == 0 {
		line, err := c.readLine()
		if err == nil {
			c.ready, err = c.command(line)
		}
		if err != nil {
			c.ended = true
			return 0, err
		}
	}
	n := copy(p, c.ready)
	c.ready = c.ready[n:]
	return n, nil
}

// readLine returns the next line with its end, or so much of it that it is too
// long for go-smtp.
func (c *clientConn) readLine() ([]byte, error) {
	var line []byte
	for {
		part, err := c.next(c.commandBlock())
		if len(part) == 0 {
			return nil, err
		}
		if !c.hasRead {
			c.hasRead = true
			if part[0] == tlsHandshake && !c.secure.Load() {
				c.recordLateClientHello()
				return nil, io.EOF
			}
			if isSSL2(part) {
				c.handshakeFailed(errSSL2)
				return nil, io.EOF
			}
		}
		if end := bytes.IndexByte(part, '\n') + 1; end > 0 {
			c.pending = part[end:]
			return append(line, part[:end]...), nil
		}
		if line = append(line, part...); len(line) > maxCommandLine {
			return line, nil
		}
	}
}

// commandBlock returns the buffer for commands. A session without a message needs
// no more.
func (c *clientConn) commandBlock() []byte {
	const commands = 4 << 10
	if c.block == nil {
		c.block = make([]byte, commands)
	}
	return c.block
}

// readChunk returns content of a BDAT chunk. If go-smtp has refused the chunk it
// still counts its octets, and checks the length of its lines: it gets short ones.
func (c *clientConn) readChunk(p []byte) (int, error) {
	p = p[:min(int64(len(p)), c.chunk)]
	var n int
	if len(c.pending) > 0 {
		n = copy(p, c.pending)
		c.pending = c.pending[n:]
	} else {
		var err error
		if n, err = c.fetch(p); n == 0 {
			c.truncated.Store(true)
			return 0, err
		}
	}
	c.chunk -= int64(n)
	if c.chunkRefused {
		for i := range p[:n] {
			p[i] = '\n'
		}
		c.chunkRefused = c.chunk > 0
	}
	return n, nil
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

// fetch reads from the client. After an error it reads no more, so that a
// second wait for the client is avoided.
func (c *clientConn) fetch(p []byte) (int, error) {
	if c.readEnded.Load() {
		return 0, io.EOF
	}
	if err := c.completeHandshake(); err != nil {
		return 0, err
	}
	n, err := c.stream.Read(p)
	if err != nil {
		c.readEnded.Store(true)
	}
	return n, err
}

// Write sends a reply. The lines of a reply are sent together; go-smtp would send
// each separately.
func (c *clientConn) Write(p []byte) (int, error) {
	if isContinuation(p) {
		c.partialReply = append(c.partialReply, p...)
		return len(p), nil
	}
	whole := append(c.partialReply, p...)
	c.partialReply = whole[:0]
	if c.chunk > 0 {
		c.chunkRefused, c.chunksOpen, c.lastCommand = true, false, "BDAT"
	}
	if c.dropReply {
		c.dropReply = false
		return len(p), nil
	}
	whole = printableReply(c.rewriteReply(whole))
	c.journalRefusal(whole)
	if err := c.completeHandshake(); err != nil {
		return 0, err
	}
	if _, err := c.stream.Write(whole); err != nil {
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
		c.closed.Store(true)
		c.sessions.leave(c)
		c.record(0, "")
		c.sessions.journal.SessionEnded(c.client, int(c.messages.Load()), time.Since(c.begun))
		if secure, ok := c.stream.(*tls.Conn); ok {
			_ = secure.CloseWrite()
		}
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
