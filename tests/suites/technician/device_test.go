package technician

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"sealpost/tests/rigs/lab"
	"sealpost/tests/rigs/machine"
	"sealpost/tests/rigs/parts"
	"sealpost/tests/rigs/site"
)

const (
	mailbox     = "relay@" + site.Domain
	application = "8b2f1c6e-0d3a-4a55-9b1f-2f0c7f1f9a10"
)

// cloud is a token issuer and a submission server that accepts its tokens.
type cloud struct {
	issuer  *parts.Issuer
	dovecot *parts.Dovecot
}

func startCloud(t *testing.T, s *site.Site) cloud {
	t.Helper()
	server, err := s.Authority.IssueP256(nil, "localhost", site.MailHost)
	if err != nil {
		t.Fatal(err)
	}
	var c cloud
	c.issuer, err = parts.NewIssuer(parts.IssuerConfig{
		Certificate: server, Roots: s.Authority.Pool(), Clients: []parts.IssuerClient{{ID: application}}, Mailbox: mailbox,
		Scopes: []string{"https://outlook.office.com/SMTP.Send"},
	})
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "submission")
	if err == nil {
		err = os.Chmod(dir, 0o755) // Dovecot drops root privileges
	}
	if err == nil {
		c.dovecot, err = parts.NewDovecot(dir, parts.DovecotConfig{
			Certificate: server, Mechanisms: []string{"xoauth2"},
			Issuer: c.issuer.Name(), KeyID: c.issuer.KeyID(), Key: c.issuer.Key(), Audience: parts.Audience,
		})
	}
	if err != nil {
		t.Fatal(errors.Join(err, c.issuer.Stop()))
	}
	t.Cleanup(func() {
		if err := errors.Join(c.dovecot.Close(), c.issuer.Stop(), os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	return c
}

// settings returns the settings of a box that signs in with a device code.
func (c cloud) settings(s *site.Site) string {
	ca := "\"\"\"\n" + string(s.Authority.PEM()) + "\"\"\""
	fromBox := strings.NewReplacer("localhost", site.MailHost) // how the box reaches it
	return fmt.Sprintf(`[site]
name = "Contoso Leeds"
alert = "alerts@%s"

[upstream]
method = "submission"

[upstream.submission]
host = %q
port = %d
user = %q
ca = %s

[upstream.oauth]
client_id = %q
grant = "device"
token_url = %q
device_url = %q
ca = %[5]s
`, site.Domain, site.MailHost, c.dovecot.Port, mailbox, ca, application, fromBox.Replace(c.issuer.TokenURL()), fromBox.Replace(c.issuer.DeviceURL()))
}

// The console lines that a user needs to sign the box in.
var (
	pageLine = regexp.MustCompile(`(?m)^  page +(\S+)\r$`)
	codeLine = regexp.MustCompile(`(?m)^  code +(\S+)\r$`)
)

// awaitLine waits for a line on the console and returns its value.
func awaitLine(t *testing.T, terminal *machine.Terminal, line *regexp.Regexp) string {
	t.Helper()
	for deadline := time.Now().Add(machine.WaitLimit); ; time.Sleep(50 * time.Millisecond) {
		if found := line.FindStringSubmatch(terminal.Transcript()); found != nil {
			return found[1]
		}
		if time.Now().After(deadline) {
			t.Fatalf("the console does not show %s:\n%s", line, terminal.Transcript())
		}
	}
}

func TestConsole_SignsABoxInWithADeviceCode(t *testing.T) {
	s, b := lab.StartSite(t), lab.Start(t)
	c := startCloud(t, s)
	terminal := b.PlugIn(t)
	lab.Play(t, terminal, `
		expect Press Enter to begin
		send
		expect How [1]:
		send 2
		expect Paste the sealpost.toml now
		<the settings>
		send .
		expect PIN for this console
		send
		expect Type "apply" to make these changes
		send apply
		expect The changes are active.
		expect PowerShell [1]:
		send 2
		expect enter the code`, "<the settings>", pasteScript(c.settings(s)))
	page, code := awaitLine(t, terminal, pageLine), awaitLine(t, terminal, codeLine)
	if err := c.issuer.SignIn(strings.Replace(page, site.MailHost, "localhost", 1), code, mailbox); err != nil {
		t.Fatal(err)
	}
	lab.Play(t, terminal, `
		expect signed in
		expect No problems found.
		expect Send a test message to [alerts@contoso.com]:
		send
		expect delivered
		expect Menu:`)
	messages, err := c.dovecot.Messages(1)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(messages[0], "Subject: Sealpost test message") {
		t.Errorf("got another message, want the test message:\n%s", messages[0])
	}
	for _, secret := range c.issuer.Secrets() {
		if strings.Contains(terminal.Transcript(), secret) || strings.Contains(b.KernelLog(), secret) {
			t.Error("the line or the kernel's log shows a secret")
		}
	}
}
