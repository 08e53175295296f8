package esmtp

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"sealpost/relay/envelope"
	"sealpost/relay/reply"
)

// Offer starts a transaction and returns the replies to MAIL and to each RCPT,
// in the envelope's order; mail is returned with an error too, if it was read.
// If MAIL is rejected, each recipient gets its reply.
func (c *Client) Offer(ctx context.Context, e envelope.Envelope) (mail reply.Reply, recipients []reply.Reply, err error) {
	defer c.watch(ctx)()
	lines := []string{c.mailLine(e)}
	for i, recipient := range e.Recipients {
		lines = append(lines, c.rcptLine(recipient, e.DSN.Of(i)))
	}
	replies, err := c.pipeline(ctx, lines)
	if len(replies) > 0 {
		mail = replies[0]
	}
	if err != nil {
		return mail, nil, err
	}
	if mail.Positive() {
		return mail, replies[1:], nil
	}
	recipients = make([]reply.Reply, len(e.Recipients))
	for i := range recipients {
		recipients[i] = mail
	}
	return mail, recipients, nil
}

func (c *Client) mailLine(e envelope.Envelope) string {
	line := "MAIL FROM:" + e.Sender.Path()
	if c.Offers("SIZE") {
		line += fmt.Sprintf(" SIZE=%d", e.Size)
	}
	if e.EightBit && c.Offers("8BITMIME") {
		line += " BODY=8BITMIME"
	}
	if !c.Offers("DSN") {
		return line
	}
	if e.DSN.Return != "" {
		line += " RET=" + string(e.DSN.Return)
	}
	if e.DSN.ID != "" {
		line += " ENVID=" + e.DSN.ID
	}
	return line
}

// rcptLine passes the recipient's parameters on as they came (RFC 3461 section 5.2.1),
// except for an original recipient that is no mail address: a server may reject its
// type, and with it the message.
func (c *Client) rcptLine(recipient envelope.Address, dsn envelope.RecipientDSN) string {
	line := "RCPT TO:" + recipient.Path()
	if !c.Offers("DSN") {
		return line
	}
	if dsn.Notify != 0 {
		line += " NOTIFY=" + dsn.Notify.String()
	}
	if kind, _, _ := strings.Cut(dsn.Original, ";"); strings.EqualFold(kind, "rfc822") {
		line += " ORCPT=" + dsn.Original
	}
	return line
}

// pipeline returns a reply for each line. With PIPELINING many lines are sent
// ahead (RFC 2920), otherwise one by one. It stops after a rejected MAIL.
func (c *Client) pipeline(ctx context.Context, lines []string) ([]reply.Reply, error) {
	// The replies to this many commands fit into the connection's buffers, so that
	// the server does not block (RFC 2920 section 3.1).
	const ahead = 100
	step := 1
	if c.Offers("PIPELINING") {
		step = ahead
	}
	var replies []reply.Reply
	for len(replies) < len(lines) {
		group := lines[len(replies):min(len(replies)+step, len(lines))]
		if err := c.send(ctx, group...); err != nil {
			return replies, err
		}
		for _, line := range group {
			r, err := c.readReply(ctx, line[:4])
			if err != nil {
				return replies, err
			}
			replies = append(replies, r)
			if err := checkFinal(line[:4], r); err != nil {
				return replies, err
			}
		}
		if !replies[0].Positive() {
			break
		}
	}
	return replies, nil
}

// Unanswered is the error of content that the server may have received as a
// whole, but whose reply did not come: it may have accepted the message (RFC
// 1047).
type Unanswered struct{ Err error }

func (u *Unanswered) Error() string { return u.Err.Error() }
func (u *Unanswered) Unwrap() error { return u.Err }

// Content sends the message to the accepted recipients and returns the final
// reply. It uses BDAT if the server offers CHUNKING (RFC 3030), which saves a
// round trip and dot-stuffing. The error is an *Unanswered if the server may have
// received the content as a whole.
func (c *Client) Content(ctx context.Context, content envelope.Content) (reply.Reply, error) {
	defer c.watch(ctx)()
	send := c.sendDATA
	if c.Offers("CHUNKING") {
		send = c.sendBDAT
	}
	r, err := send(ctx, content)
	if err != nil {
		return reply.Reply{}, err
	}
	err = checkFinal("the content", r)
	if err != nil && r.Code != ServiceClosing {
		err = &Unanswered{err}
	}
	return r, err
}

// checkFinal rejects a reply that is not final: an intermediate one (3yz), or
// 421 (RFC 5321 section 3.8).
func checkFinal(command string, r reply.Reply) error {
	if r.Code/100 == 3 || r.Code == ServiceClosing {
		return &UnexpectedReply{command, r}
	}
	return nil
}

func (c *Client) sendBDAT(ctx context.Context, content envelope.Content) (reply.Reply, error) {
	if !c.Usable() {
		return reply.Reply{}, ErrUnsolicited
	}
	c.observer.Sent(fmt.Sprintf("BDAT %d LAST", content.Size()))
	fmt.Fprintf(c.w, "BDAT %d LAST\r\n", content.Size())
	if sent, err := c.copyContent(ctx, content, c.w); err != nil {
		if sent == content.Size() {
			err = &Unanswered{err}
		}
		return c.readEarlyReply(ctx, err)
	}
	return c.readContentReply(ctx)
}

func (c *Client) sendDATA(ctx context.Context, content envelope.Content) (reply.Reply, error) {
	r, err := c.command(ctx, "DATA")
	if err != nil || r.Transient() || r.Permanent() {
		return r, err
	}
	if r.Code != 354 {
		return r, &UnexpectedReply{"DATA", r}
	}
	if _, err := c.copyContent(ctx, content, &dotStuffer{w: c.w, lineStart: true}); err != nil {
		return c.readEarlyReply(ctx, err)
	}
	if err := c.send(ctx, "."); err != nil {
		return c.readEarlyReply(ctx, &Unanswered{err})
	}
	return c.readContentReply(ctx)
}

// readContentReply reads the reply to content that was sent as a whole.
func (c *Client) readContentReply(ctx context.Context) (reply.Reply, error) {
	r, err := c.readReplyWithin(ctx, "the content", contentReplyTimeout)
	if err != nil {
		err = &Unanswered{err}
	}
	return r, err
}

// copyContent writes the content, with the full timeout for each block, and returns
// the number of octets written.
func (c *Client) copyContent(ctx context.Context, content envelope.Content, dst io.Writer) (sent int64, err error) {
	c.observer.Sent(fmt.Sprintf("[%d octets of content]", content.Size()))
	source := content.Open()
	for {
		n, err := c.copyBlock(ctx, dst, source)
		sent += n
		if err != nil {
			return sent, fmt.Errorf("sending the content: %w", err)
		}
		if n < contentBlock {
			return sent, nil
		}
	}
}

// contentBlock is how many octets of content are written within one timeout.
const contentBlock = 64 << 10

func (c *Client) copyBlock(ctx context.Context, dst io.Writer, source io.Reader) (int64, error) {
	release, err := c.setDeadline(ctx, c.timeout)
	if err != nil {
		return 0, err
	}
	defer release()
	n, err := io.Copy(dst, io.LimitReader(source, contentBlock))
	if err == nil {
		err = c.w.Flush()
	}
	return n, err
}

// readEarlyReply looks for a reply that explains why sending failed: a server
// may reject the content before it closes the connection.
func (c *Client) readEarlyReply(ctx context.Context, sending error) (reply.Reply, error) {
	c.broken = true
	ctx, cancel := context.WithTimeout(ctx, min(c.timeout, time.Second))
	defer cancel()
	r, err := c.readReply(ctx, "the content")
	if err != nil || r.Positive() {
		return reply.Reply{}, sending
	}
	return r, nil
}

// dotStuffer doubles a dot at the start of a line (RFC 5321 section 4.5.2).
// Lines must end in CRLF.
type dotStuffer struct {
	w         *bufio.Writer
	lineStart bool
}

func (d *dotStuffer) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 {
		if d.lineStart && p[0] == '.' {
			if err := d.w.WriteByte('.'); err != nil {
				return 0, err
			}
		}
		end := bytes.IndexByte(p, '\n') + 1
		d.lineStart = end > 0
		if end == 0 {
			end = len(p)
		}
		if _, err := d.w.Write(p[:end]); err != nil {
			return 0, err
		}
		p = p[end:]
	}
	return total, nil
}
