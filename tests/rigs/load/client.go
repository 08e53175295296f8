// Package load sends mail from many devices continuously and records the reply to
// each message.
//
// It knows SMTP as devices use it, and messages that carry their own digest. It
// must not know what is between the devices and the tenant.
package load

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"net"
	"net/textproto"
	"strings"
	"time"
)

// Sender and Recipient of every message.
const (
	Sender    = "printer@contoso.com"
	Recipient = "alice@fabrikam.example"
)

// Client is a device that sends messages one after another over one session.
type Client struct {
	conn net.Conn
	text *textproto.Conn
}

// Dial opens a session with the relay from an address of this machine; empty
// means any.
func Dial(relay, from string) (*Client, error) {
	dialer := net.Dialer{Timeout: 10 * time.Second}
	if from != "" {
		dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	conn, err := dialer.Dial("tcp", relay)
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(2 * time.Minute))
	c := &Client{conn, textproto.NewConn(conn)}
	_, _, err = c.text.ReadResponse(220)
	if err == nil {
		err = c.command(250, "EHLO device")
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (c *Client) command(code int, format string, args ...any) error {
	id, err := c.text.Cmd(format, args...)
	if err != nil {
		return err
	}
	c.text.StartResponse(id)
	defer c.text.EndResponse(id)
	_, _, err = c.text.ReadResponse(code)
	return err
}

// Send sends one message. It returns an error unless the reply is 250.
func (c *Client) Send(message string) error {
	for _, step := range []struct {
		code int
		line string
	}{{250, "MAIL FROM:<" + Sender + ">"}, {250, "RCPT TO:<" + Recipient + ">"}, {354, "DATA"}} {
		if err := c.command(step.code, "%s", step.line); err != nil {
			return err
		}
	}
	w := c.text.DotWriter()
	if _, err := w.Write([]byte(message)); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	_, _, err := c.text.ReadResponse(250)
	return err
}

// Close closes the connection.
func (c *Client) Close() { _ = c.conn.Close() }

// NewMessage returns a message of about size octets whose body ends with its
// digest.
func NewMessage(name string, size int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Subject: %s\r\nDate: Fri, 27 Nov 2026 08:00:00 +0000\r\nFrom: %s\r\nTo: %s\r\nMessage-ID: <%s.%d@load.example>\r\n\r\n", name, Sender, Recipient, name, size)
	random := rand.New(rand.NewPCG(uint64(size), uint64(len(name))))
	for b.Len() < size {
		fmt.Fprintf(&b, "%s %016x%016x%016x%016x\r\n", name, random.Uint64(), random.Uint64(), random.Uint64(), random.Uint64())
	}
	fmt.Fprintf(&b, "%x\r\n", sha256.Sum256([]byte(b.String())))
	return b.String()
}

// ParseMessage returns the name of a message that arrived, and whether its digest
// matches. It skips the relay's trace field.
func ParseMessage(content []byte) (name string, intact bool) {
	text := string(content)
	at := strings.Index(text, "Subject: ")
	const digest = 2*sha256.Size + len("\r\n")
	if at < 0 || len(text)-at < digest {
		return "", false
	}
	text = text[at:]
	name, _, _ = strings.Cut(strings.TrimPrefix(text, "Subject: "), "\r\n")
	body := text[:len(text)-digest]
	return name, fmt.Sprintf("%x\r\n", sha256.Sum256([]byte(body))) == text[len(body):]
}
