// Package esmtp is the client's side of one SMTP conversation: greeting, EHLO,
// STARTTLS, a login, a transaction, and the next one (RFC 5321, 1870, 2920,
// 3030, 3207, 4954, 6152).
//
// It knows the protocol, bounds what a server may say and how long it may
// take, and shows every line to an observer, content and secrets left out. It
// must not know which server it talks to, whose certificate is shown, who logs
// in, or what a reply means for the message.
//
// It stands in place of go-smtp's client, which sends neither PIPELINING nor
// BDAT, lets a reply grow without end, and shows the content to its log.
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

// Observer hears the conversation line by line, without line endings. What
// stands for content or for a secret is described, never shown.
type Observer interface {
	Sent(line string)
	Received(line string)
}

// ServiceClosing is the code with which a server announces that it hangs up.
const ServiceClosing = 421

// Refusal is the error of a command that the server answered with anything
// but what the conversation needs to go on.
type Refusal struct {
	Command string
	Reply   reply.Reply
}

func (r *Refusal) Error() string {
	return fmt.Sprintf("%s was answered %s", r.Command, r.Reply)
}

// ErrClosed is the error of a server that hangs up where it owes a reply.
var ErrClosed = errors.New("the server closed the connection")

// ErrUnsolicited is the error of a server that says more than it was asked:
// from then on no reply could be told from the next.
var ErrUnsolicited = errors.New("the server sent a reply that nothing had asked for")

// finalPatience is how long the reply to the content is waited for: a server
// may be scanning it, and giving up early makes duplicates (RFC 5321 section
// 4.5.3.2.6). The context bounds it further.
const finalPatience = 10 * time.Minute

// ErrEarlyData is the error of a server that talks on in clear text after it
// agreed to STARTTLS: somebody may be putting words into its mouth.
var ErrEarlyData = errors.New("the server sent clear text after agreeing to STARTTLS")

// Client is one conversation. It is used by one goroutine at a time; after an
// error that is not a *Refusal it can only be closed.
type Client struct {
	conn       net.Conn
	r          *bufio.Reader
	w          *bufio.Writer
	observer   Observer
	timeout    time.Duration
	extensions map[string]string
	verified   bool   // under TLS, by a certificate that was verified
	response   string // of the login, in base64; nobody else is to see it
	secret     string // of the login, that is in the response
	broken     bool   // a write failed: what the server has of it is not known
}

// Dialogue begins a conversation on conn by reading the server's greeting. A
// *tls.Conn has made its handshake.
// Timeout is the longest that any one reply, or the progress of any one
// write, is waited for; a context that ends sooner ends the wait.
func Dialogue(ctx context.Context, conn net.Conn, observer Observer, timeout time.Duration) (*Client, error) {
	c := &Client{observer: observer, timeout: timeout}
	c.use(conn)
	greeting, err := c.hear(ctx, "greeting")
	if err != nil {
		return nil, err
	}
	if greeting.Code != 220 {
		return nil, &Refusal{"the connection", greeting}
	}
	return c, nil
}

func (c *Client) use(conn net.Conn) {
	c.conn, c.r, c.w = conn, bufio.NewReader(conn), bufio.NewWriterSize(conn, 32<<10)
	secured, ok := conn.(*tls.Conn)
	c.verified = ok && len(secured.ConnectionState().VerifiedChains) > 0
}

// Hello says EHLO and remembers the extensions that the server offers.
func (c *Client) Hello(ctx context.Context, name string) error {
	r, err := c.command(ctx, "EHLO "+name)
	if err != nil {
		return err
	}
	if r.Code != 250 {
		return &Refusal{"EHLO", r}
	}
	c.extensions = make(map[string]string)
	_, offers, _ := strings.Cut(r.Text, "\n")
	for offer := range strings.SplitSeq(offers, "\n") {
		keyword, parameter, _ := strings.Cut(offer, " ")
		c.extensions[strings.ToUpper(keyword)] = parameter
	}
	return nil
}

// Offers tells whether the server named the extension in its answer to EHLO.
func (c *Client) Offers(keyword string) bool {
	_, offered := c.extensions[keyword]
	return offered
}

// Usable tells whether another transaction may be opened.
func (c *Client) Usable() bool { return !c.broken && c.r.Buffered() == 0 }

// StartTLS goes over to TLS and forgets what was said before (RFC 3207). An
// error of the handshake is returned as crypto/tls gave it, wrapped.
func (c *Client) StartTLS(ctx context.Context, config *tls.Config) (tls.ConnectionState, error) {
	r, err := c.command(ctx, "STARTTLS")
	if err != nil {
		return tls.ConnectionState{}, err
	}
	if r.Code != 220 {
		return tls.ConnectionState{}, &Refusal{"STARTTLS", r}
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

// Reset gives up the transaction under way.
func (c *Client) Reset(ctx context.Context) error {
	r, err := c.command(ctx, "RSET")
	if err == nil && r.Code != 250 {
		err = &Refusal{"RSET", r}
	}
	return err
}

// Quit says goodbye without waiting for long, and closes the connection.
func (c *Client) Quit() {
	ctx, cancel := context.WithTimeout(context.Background(), min(c.timeout, time.Second))
	defer cancel()
	_, _ = c.command(ctx, "QUIT")
	c.Close()
}

// Close drops the connection.
func (c *Client) Close() { _ = c.conn.Close() }

func (c *Client) command(ctx context.Context, line string) (reply.Reply, error) {
	if err := c.say(ctx, line); err != nil {
		return reply.Reply{}, err
	}
	verb, _, _ := strings.Cut(line, " ")
	return c.hear(ctx, verb)
}

// say sends command lines in one go.
func (c *Client) say(ctx context.Context, lines ...string) error {
	return c.sayAs(ctx, lines, lines)
}

// sayAs shows the observer other lines than the server.
func (c *Client) sayAs(ctx context.Context, shown, lines []string) error {
	if c.r.Buffered() > 0 {
		return ErrUnsolicited
	}
	release, err := c.guard(ctx, c.timeout)
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

// hear reads the reply to what was said.
func (c *Client) hear(ctx context.Context, to string) (reply.Reply, error) {
	return c.hearWithin(ctx, to, c.timeout)
}

func (c *Client) hearWithin(ctx context.Context, to string, timeout time.Duration) (reply.Reply, error) {
	release, err := c.guard(ctx, timeout)
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

// guard bounds the next reads and writes by the timeout and by ctx. When release
// returns, ctx has no more say.
func (c *Client) guard(ctx context.Context, timeout time.Duration) (release func(), err error) {
	deadline := time.Now().Add(timeout)
	if end, ok := ctx.Deadline(); ok && end.Before(deadline) {
		deadline = end
	}
	if err := c.conn.SetDeadline(deadline); err != nil {
		return nil, fmt.Errorf("setting a time limit: %w", err)
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		_ = c.conn.SetDeadline(time.Unix(1, 0))
	})
	return func() {
		if !stop() {
			<-ended
		}
	}, nil
}
