// Package load is a site full of devices that never tire, and remembers what
// each of them was told.
//
// It knows SMTP as a device speaks it, and messages that prove themselves whole.
// It must not know what is between the devices and the tenant.
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

// Talker is a device that sends one message after the other over one session.
type Talker struct {
	conn net.Conn
	text *textproto.Conn
}

// Talk opens a session with the relay from an address of this machine; empty
// means any.
func Talk(relay, from string) (*Talker, error) {
	dialer := net.Dialer{Timeout: 10 * time.Second}
	if from != "" {
		dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	conn, err := dialer.Dial("tcp", relay)
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(2 * time.Minute))
	t := &Talker{conn, textproto.NewConn(conn)}
	_, _, err = t.text.ReadResponse(220)
	if err == nil {
		err = t.say(250, "EHLO device")
	}
	if err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

func (t *Talker) say(code int, format string, args ...any) error {
	id, err := t.text.Cmd(format, args...)
	if err != nil {
		return err
	}
	t.text.StartResponse(id)
	defer t.text.EndResponse(id)
	_, _, err = t.text.ReadResponse(code)
	return err
}

// Send gives one message, and an error unless it was answered 250.
func (t *Talker) Send(message string) error {
	for _, step := range []struct {
		code int
		line string
	}{{250, "MAIL FROM:<" + Sender + ">"}, {250, "RCPT TO:<" + Recipient + ">"}, {354, "DATA"}} {
		if err := t.say(step.code, "%s", step.line); err != nil {
			return err
		}
	}
	w := t.text.DotWriter()
	if _, err := w.Write([]byte(message)); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	_, _, err := t.text.ReadResponse(250)
	return err
}

// Close hangs up.
func (t *Talker) Close() { _ = t.conn.Close() }

// Numbered is a message of about size octets that proves itself: its body ends
// with its digest.
func Numbered(name string, size int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Subject: %s\r\n\r\n", name)
	random := rand.New(rand.NewPCG(uint64(size), uint64(len(name))))
	for b.Len() < size {
		fmt.Fprintf(&b, "%s %016x%016x%016x%016x\r\n", name, random.Uint64(), random.Uint64(), random.Uint64(), random.Uint64())
	}
	fmt.Fprintf(&b, "%x\r\n", sha256.Sum256([]byte(b.String())))
	return b.String()
}

// Named finds the number of a message that arrived whole; the relay's trace
// field stands before it.
func Named(content []byte) (name string, whole bool) {
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
