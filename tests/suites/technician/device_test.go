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

// cloud is the part of a tenant beside its mail host: an issuer of tokens, and a
// submission server that accepts them.
type cloud struct {
	issuer  *parts.Issuer
	dovecot *parts.Dovecot
}

func openCloud(t *testing.T, s *site.Site) cloud {
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
		err = os.Chmod(dir, 0o755) // Dovecot is not root's for long
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

// settings are those of a box that a person signs in.
func (c cloud) settings(s *site.Site) string {
	ca := "\"\"\"\n" + string(s.Authority.PEM()) + "\"\"\""
	seen := strings.NewReplacer("localhost", site.MailHost) // from the box
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
`, site.Domain, site.MailHost, c.dovecot.Port, mailbox, ca, application, seen.Replace(c.issuer.TokenURL()), seen.Replace(c.issuer.DeviceURL()))
}

// The lines of the console that a person needs in order to sign the box in.
var (
	pageLine = regexp.MustCompile(`(?m)^  page +(\S+)\r$`)
	codeLine = regexp.MustCompile(`(?m)^  code +(\S+)\r$`)
)

// shown waits for a line on the console and returns its value.
func shown(t *testing.T, terminal *machine.Terminal, line *regexp.Regexp) string {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
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
	c := openCloud(t, s)
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
		expect enter the code`, "<the settings>", pasted(c.settings(s)))
	page, code := shown(t, terminal, pageLine), shown(t, terminal, codeLine)
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
		t.Errorf("another message arrived:\n%s", messages[0])
	}
	for _, secret := range c.issuer.Secrets() {
		if strings.Contains(terminal.Transcript(), secret) || strings.Contains(b.KernelLog(), secret) {
			t.Error("the line or the kernel's log shows a secret")
		}
	}
}
