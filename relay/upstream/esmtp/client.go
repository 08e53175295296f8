// Package esmtp is the client side of an SMTP session: greeting, EHLO,
// STARTTLS, AUTH, and mail transactions (RFC 5321, 1870, 2920, 3030, 3207,
// 3461, 4954, 6152).
//
// It knows the protocol, limits what a server may send and how long it may
// take, and passes every line to an observer, without content and secrets. It
// must not know which server it talks to, which certificate is sent, who logs
// in, or what a reply means for the message.
//
// It replaces go-smtp's client, which supports neither PIPELINING nor BDAT,
// does not limit replies, and logs the content.
package esmtp

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"sealpost/relay/reply"
)

// Observer receives the dialogue line by line, without line endings. Content
// and secrets are described, never included.
type Observer interface {
	Sent(line string)
	Received(line string)
}

// ServiceClosing is the reply code of a server that closes the connection.
const ServiceClosing = 421

// UnexpectedReply is the error of a command whose reply does not allow the
// session to continue.
type UnexpectedReply struct {
	Command string
	Reply   reply.Reply
}

func (r *UnexpectedReply) Error() string {
	return fmt.Sprintf("unexpected reply to %s: %s", r.Command, r.Reply)
}

// ErrClosed is the error of a connection that the server closed instead of
// replying.
var ErrClosed = errors.New("the server closed the connection")

// ErrUnsolicited is the error of a server that sends more replies than
// commands; later replies could not be matched.
var ErrUnsolicited = errors.New("the server sent an unsolicited reply")

// contentReplyTimeout is how long to wait for the reply to the content: a
// server may be scanning it, and giving up early causes duplicates (RFC 5321
// section 4.5.3.2.6). The context may end sooner.
const contentReplyTimeout = 10 * time.Minute

// ErrEarlyData is the error of a server that sends clear text after agreeing to
// STARTTLS, which may be injected.
var ErrEarlyData = errors.New("the server sent clear text after agreeing to STARTTLS")

// Client is one SMTP session. It is used by one goroutine at a time; after any
// error but an *UnexpectedReply it can only be closed.
type Client struct {
	conn       net.Conn
	r          *bufio.Reader
	w          *bufio.Writer
	observer   Observer
	timeout    time.Duration
	extensions map[string]string
	verified   bool            // TLS with a verified certificate
	response   string          // SASL response in base64, redacted for the observer
	secret     string          // secret contained in the response
	broken     bool            // a write failed, so the state of the server is unknown
	watched    context.Context // whose end ends reads and writes; nil for none
}

// Dialogue starts a session on conn by reading the greeting. A *tls.Conn must
// have completed its handshake. timeout limits the wait for each reply and the
// progress of each write; ctx may end sooner.
func Dialogue(ctx context.Context, conn net.Conn, observer Observer, timeout time.Duration) (*Client, error) {
	c := &Client{observer: observer, timeout: timeout}
	c.use(conn)
	greeting, err := c.readReply(ctx, "greeting")
	if err != nil {
		return nil, err
	}
	if greeting.Code != 220 {
		return nil, &UnexpectedReply{"the connection", greeting}
	}
	return c, nil
}

func (c *Client) use(conn net.Conn) {
	c.conn, c.r, c.w = conn, bufio.NewReader(conn), bufio.NewWriterSize(conn, 32<<10)
	secured, ok := conn.(*tls.Conn)
	c.verified = ok && len(secured.ConnectionState().VerifiedChains) > 0
}

// Hello sends EHLO and stores the server's extensions.
func (c *Client) Hello(ctx context.Context, name string) error {
	r, err := c.command(ctx, "EHLO "+name)
	if err != nil {
		return err
	}
	if r.Code != 250 {
		return &UnexpectedReply{"EHLO", r}
	}
	c.extensions = make(map[string]string)
	_, offers, _ := strings.Cut(r.Text, "\n")
	for offer := range strings.SplitSeq(offers, "\n") {
		keyword, parameter, _ := strings.Cut(offer, " ")
		c.extensions[strings.ToUpper(keyword)] = parameter
	}
	return nil
}

// Offers reports whether the server offers the extension.
func (c *Client) Offers(keyword string) bool {
	_, offered := c.extensions[keyword]
	return offered
}

// Usable reports whether another transaction may be started.
func (c *Client) Usable() bool { return !c.broken && c.r.Buffered() == 0 }

// StartTLS switches to TLS and discards the server's extensions (RFC 3207). A
// handshake error of crypto/tls is wrapped.
func (c *Client) StartTLS(ctx context.Context, config *tls.Config) (tls.ConnectionState, error) {
	r, err := c.command(ctx, "STARTTLS")
	if err != nil {
		return tls.ConnectionState{}, err
	}
	if r.Code != 220 {
		return tls.ConnectionState{}, &UnexpectedReply{"STARTTLS", r}
	}
	if c.r.Buffered() > 0 {
		return tls.ConnectionState{}, ErrEarlyData
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	conn := tls.Client(c.conn, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		return tls.ConnectionState{}, fmt.Errorf("TLS handshake: %w", err)
	}
	c.use(conn)
	c.extensions = nil
	return conn.ConnectionState(), nil
}

// Reset aborts the current transaction.
func (c *Client) Reset(ctx context.Context) error {
	r, err := c.command(ctx, "RSET")
	if err == nil && r.Code != 250 {
		err = &UnexpectedReply{"RSET", r}
	}
	return err
}

// Quit sends QUIT, waits at most a second for the reply, and closes the
// connection.
func (c *Client) Quit() {
	ctx, cancel := context.WithTimeout(context.Background(), min(c.timeout, time.Second))
	defer cancel()
	_, _ = c.command(ctx, "QUIT")
	c.Close()
}

// Close closes the connection.
func (c *Client) Close() { _ = c.conn.Close() }

func (c *Client) command(ctx context.Context, line string) (reply.Reply, error) {
	if err := c.send(ctx, line); err != nil {
		return reply.Reply{}, err
	}
	verb, _, _ := strings.Cut(line, " ")
	return c.readReply(ctx, verb)
}

// send sends command lines in one write.
func (c *Client) send(ctx context.Context, lines ...string) error {
	return c.sendRedacted(ctx, lines, lines)
}

// sendRedacted sends lines but passes shown to the observer.
func (c *Client) sendRedacted(ctx context.Context, shown, lines []string) error {
	if c.r.Buffered() > 0 {
		return ErrUnsolicited
	}
	release, err := c.setDeadline(ctx, c.timeout)
	if err != nil {
		return err
	}
	defer release()
	for i, line := range lines {
		c.observer.Sent(shown[i])
		if _, err := c.w.WriteString(line + "\r\n"); err != nil {
			return fmt.Errorf("sending to the server: %w", err)
		}
	}
	if err := c.w.Flush(); err != nil {
		return fmt.Errorf("sending to the server: %w", err)
	}
	return nil
}

// readReply reads the reply to a command.
func (c *Client) readReply(ctx context.Context, to string) (reply.Reply, error) {
	return c.readReplyWithin(ctx, to, c.timeout)
}

func (c *Client) readReplyWithin(ctx context.Context, to string, timeout time.Duration) (reply.Reply, error) {
	release, err := c.setDeadline(ctx, timeout)
	if err != nil {
		return reply.Reply{}, err
	}
	defer release()
	r, err := reply.Read(c.r, func(line string) { c.observer.Received(c.redacted(line)) })
	if errors.Is(err, io.EOF) {
		err = ErrClosed
	}
	if err != nil {
		return reply.Reply{}, fmt.Errorf("waiting for the reply to %s: %w", to, err)
	}
	r.Text = c.redacted(r.Text)
	return r, nil
}

// setDeadline limits the next reads and writes by timeout and ctx. After
// release, ctx has no effect.
func (c *Client) setDeadline(ctx context.Context, timeout time.Duration) (release func(), err error) {
	deadline := time.Now().Add(timeout)
	if end, ok := ctx.Deadline(); ok && end.Before(deadline) {
		deadline = end
	}
	if err := c.conn.SetDeadline(deadline); err != nil {
		return nil, fmt.Errorf("setting the deadline: %w", err)
	}
	if c.watched == ctx {
		if ctx.Err() != nil { // its end may have come before the deadline was set
			_ = c.conn.SetDeadline(past)
		}
		return func() {}, nil
	}
	return c.watch(ctx), nil
}

// watch makes the end of ctx end reads and writes, until release. Watching it
// once for several commands is cheaper than once for each.
func (c *Client) watch(ctx context.Context) (release func()) {
	conn, ended := c.conn, make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		_ = conn.SetDeadline(past)
	})
	outer := c.watched
	c.watched = ctx
	return func() {
		c.watched = outer
		if !stop() {
			<-ended
		}
	}
}

// past is a deadline that ends reads and writes at once.
var past = time.Unix(1, 0)
