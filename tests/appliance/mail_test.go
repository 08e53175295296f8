package appliance

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/smtp"
	"strings"
	"testing"
	"time"

	"sealpost/tests/parts"
	"sealpost/tests/site"
)

// openSite starts a site that goes with the test.
func openSite(t *testing.T) *site.Site {
	t.Helper()
	s, err := site.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// settingsFor are enough for a site whose authority is its own.
func settingsFor(s *site.Site) string {
	return fmt.Sprintf("[site]\nname = \"Contoso Leeds\"\n[senders]\naccepted_domains = [%q]\ndefault = \"printer@%s\"\n[upstream.connector]\nhost = %q\nca = \"\"\"\n%s\"\"\"\n",
		site.Domain, site.Domain, site.MailHost, parts.PEM(s.Authority.Certificate.Raw))
}

// fullyFor is a candidate that leaves nothing to be done.
func fullyFor(s *site.Site) candidate {
	return candidate{Settings: settingsFor(s), PFX: s.PFX, Password: s.Password}
}

// awaitBanner waits until the box greets SMTP clients.
func (b *box) awaitBanner(t *testing.T) {
	t.Helper()
	const patience = time.Minute
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if greeting := b.greeting(); strings.HasPrefix(greeting, "220 ") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no greeting within %s:\n%s", patience, b.KernelLog())
		}
	}
}

// greeting is what the box says first; empty where it says nothing.
func (b *box) greeting() string {
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

// send gives the box a message as a device would.
func (b *box) send(subject string) error {
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

func TestABoxThatWasSetUpRelaysFromItsFirstSecondsOn(t *testing.T) {
	s, b := openSite(t), newBox(t)
	b.setUp(t, fullyFor(s))
	b.powerOn(t)
	b.awaitBanner(t)
	if err := b.send("first"); err != nil {
		t.Fatal(err)
	}
	texts, err := s.Postfix.Messages(1)
	if err != nil {
		t.Fatalf("%v\n%s", err, b.KernelLog())
	}
	if !strings.Contains(texts[0], `Client CN "relay.contoso.com"`) || !strings.Contains(texts[0], "verified OK") {
		t.Errorf("Postfix says of the certificate:\n%s", texts[0])
	}
}

// serves is when the box's relay answered its clients.
const serves = `event="relay serves"`
