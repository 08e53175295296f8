package diagnose

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/emersion/go-smtp"

	"sealpost/provisioning/operator"
	"sealpost/provisioning/settings"
	"sealpost/relay/control"
	"sealpost/relay/envelope"
	"sealpost/relay/server"
)

// testTimeout is how long a test message is followed.
const testTimeout = 90 * time.Second

// SendTest sends a test message through the running relay as a device would,
// and yields its steps until the caller stops.
func SendTest(ctx context.Context, s settings.Settings, to envelope.Address, step func(operator.Step) error) error {
	ctx, cancel := context.WithTimeout(ctx, testTimeout)
	defer cancel()
	// A journal that is followed from before the message misses none of it.
	stream, err := control.ReadJournal(ctx, s.ControlSocket(), control.Query{Follow: true, JSON: true})
	if err != nil {
		return err
	}
	defer stream.Close()
	message := testMessage{hello: "test-" + strings.ToLower(rand.Text()[:8]) + ".localhost", to: to, settings: s}
	sent := make(chan error, 1)
	go func() { sent <- message.send(ctx) }()
	return follow(stream, message.hello, sent, step)
}

// testMessage is what is sent to see whether mail arrives.
type testMessage struct {
	hello    string // EHLO name, which identifies the message in the journal
	to       envelope.Address
	settings settings.Settings
}

// from is the sender that devices without one get.
func (m testMessage) from() string {
	if sender := m.settings.DefaultSender(); sender != "" {
		return string(sender)
	}
	return "sealpost-test@" + string(m.settings.AcceptedDomains()[0])
}

// send submits the message to the relay as a device would.
func (m testMessage) send(ctx context.Context) error {
	address, err := ownListener(m.settings.LAN)
	if err != nil {
		return err
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("the relay's own listener: %w", err)
	}
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	client := smtp.NewClient(conn)
	defer client.Close()
	if err := client.Hello(m.hello); err != nil {
		return fmt.Errorf("the relay rejects this machine: %w: add it to lan.allow", err)
	}
	if err := client.SendMail(m.from(), []string{string(m.to)}, strings.NewReader(m.text())); err != nil {
		return fmt.Errorf("the relay replied: %w", err)
	}
	return client.Quit()
}

func (m testMessage) text() string {
	site := m.settings.Site.Name
	if site == "" {
		site = "a site without a name"
	}
	lines := []string{
		"From: " + m.from(), "To: " + string(m.to), "Subject: Sealpost test message", "Date: " + time.Now().Format(time.RFC1123Z),
		"Message-ID: <" + m.hello + ">", "MIME-Version: 1.0", "Content-Type: text/plain; charset=utf-8", "",
		"This is a test message of the Sealpost box at " + printableLine(site) + ".",
		"It was sent in the same way as the mail of the devices there.", "",
	}
	return strings.Join(lines, "\r\n")
}

// printableLine removes line breaks and repeated spaces from a name.
func printableLine(name string) string { return strings.Join(strings.Fields(name), " ") }

// ownListener returns the address at which this machine reaches the relay in clear text.
func ownListener(s settings.LAN) (string, error) {
	if len(s.SMTP) == 0 {
		return "", errors.New("lan.smtp is empty, so nothing can be sent in clear text: test with a device that speaks TLS")
	}
	return server.LocalAddress(string(s.SMTP[0]))
}
