package lab

import (
	"errors"
	"io"
	"net"
	"net/smtp"
	"strings"
	"testing"
	"time"

	"sealpost/tests/rigs/site"
)

// AwaitBanner waits until the box greets SMTP clients.
func (b *Box) AwaitBanner(t *testing.T) {
	t.Helper()
	const patience = time.Minute
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if greeting := b.Greeting(); strings.HasPrefix(greeting, "220 ") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no greeting within %s:\n%s", patience, b.KernelLog())
		}
	}
}

// Greeting is what the box says first; empty where it says nothing.
func (b *Box) Greeting() string {
	conn, err := net.Dial("tcp", b.Address(25))
	if err != nil {
		return ""
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	p := make([]byte, 100)
	n, _ := io.ReadAtLeast(conn, p, 4)
	return string(p[:n])
}

// Send gives the box a message as a device would.
func (b *Box) Send(subject string) error {
	conn, err := net.Dial("tcp", b.Address(25))
	if err != nil {
		return err
	}
	_ = conn.SetDeadline(time.Now().Add(2 * time.Minute))
	client, err := smtp.NewClient(conn, "box")
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	defer client.Close()
	if err := errors.Join(client.Mail("printer@"+site.Domain), client.Rcpt("alice@fabrikam.example")); err != nil {
		return err
	}
	content, err := client.Data()
	if err != nil {
		return err
	}
	if _, err := io.WriteString(content, "Subject: "+subject+"\r\n\r\nA page.\r\n"); err != nil {
		return err
	}
	return errors.Join(content.Close(), client.Quit())
}

// Relays checks that the box takes a message and that it arrives, the n-th of
// all.
func (b *Box) Relays(t *testing.T, s *site.Site, n int) {
	t.Helper()
	b.AwaitBanner(t)
	b.Keeps(t)
	if _, err := s.Postfix.Messages(n); err != nil {
		t.Fatal(err)
	}
}

// Keeps waits until the box takes a message, be it to keep it.
func (b *Box) Keeps(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Second) {
		err := b.Send("to be kept")
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}
