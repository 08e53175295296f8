package lab

import (
	"errors"
	"io"
	"net"
	"net/smtp"
	"slices"
	"strings"
	"testing"
	"time"

	"sealpost/tests/rigs/machine"
	"sealpost/tests/rigs/site"
)

// AwaitBanner waits until the box greets SMTP clients.
func (b *Box) AwaitBanner(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(machine.WaitLimit); ; time.Sleep(20 * time.Millisecond) {
		if greeting := b.Greeting(); strings.HasPrefix(greeting, "220 ") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no greeting within %s:\n%s", machine.WaitLimit, b.KernelLog())
		}
	}
}

// Greeting returns the first line that the box sends, or "" if it does not listen.
func (b *Box) Greeting() string { return Greeting(b.Address(25)) }

// Greeting returns the first line that a server sends, or "" if it does not listen.
func Greeting(address string) string {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return ""
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	p := make([]byte, 100)
	n, _ := io.ReadAtLeast(conn, p, 4)
	return string(p[:n])
}

// Send sends a message to the box as a device does.
func (b *Box) Send(subject string) error {
	return Send(b.Address(25), "printer@"+site.Domain, subject)
}

// Send sends a message in clear text, as an old device does.
func Send(address, sender, subject string) error {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	_ = conn.SetDeadline(time.Now().Add(machine.WaitLimit))
	client, err := smtp.NewClient(conn, "box")
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	defer client.Close()
	if err := errors.Join(client.Mail(sender), client.Rcpt("alice@fabrikam.example")); err != nil {
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

// MustRelay checks that the box accepts a message and delivers it. It returns the
// text that arrived.
func (b *Box) MustRelay(t *testing.T, s *site.Site) string {
	t.Helper()
	return MustArrive(t, s, func() {
		b.AwaitBanner(t)
		b.MustAccept(t)
	})
}

// MustArrive calls send, waits until the message arrives at the site's tenant, and
// returns its text.
func MustArrive(t *testing.T, s *site.Site, send func()) string {
	t.Helper()
	before, err := s.Postfix.Messages(0)
	if err != nil {
		t.Fatal(err)
	}
	send()
	after, err := s.Postfix.Messages(len(before) + 1)
	if err != nil {
		t.Fatal(err)
	}
	return after[slices.IndexFunc(after, func(text string) bool { return !slices.Contains(before, text) })]
}

// MustAccept waits until the box accepts a message, to deliver or to queue it.
func (b *Box) MustAccept(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(machine.WaitLimit); ; time.Sleep(time.Second) {
		err := b.Send("to be queued")
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}
