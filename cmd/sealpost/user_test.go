package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"os"
	"strings"
	"testing"

	"sealpost/tests/rigs/parts"
)

// commandLine is a command line with what it must give.
type commandLine struct {
	args   string
	input  string
	status int
	text   string // in its output or its error
}

// runAll runs command lines in one folder.
func runAll(t *testing.T, lines []commandLine) {
	t.Helper()
	for _, c := range lines {
		var out, errs bytes.Buffer
		status := run(context.Background(), strings.Fields(c.args), strings.NewReader(c.input), &out, &errs)
		text := out.String() + errs.String()
		if status != c.status || !strings.Contains(text, c.text) {
			t.Errorf("sealpost %s: got %d, %s, want %d with %q", c.args, status, text, c.status, c.text)
		}
		if c.input != "" && strings.Contains(text, strings.TrimSpace(c.input)) {
			t.Errorf("sealpost %s prints the password: %s", c.args, text)
		}
	}
}

func TestUser_AddsListsAndRemoves(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("sealpost.toml", []byte(good), 0o600); err != nil {
		t.Fatal(err)
	}
	runAll(t, []commandLine{
		{"user list", "", exitFailed, "there is no state yet"},
		{"user add printer", "short\n", exitFailed, "a password has 8 to 128 characters"},
		{"user add printer --client nowhere", "long enough\n", exitFailed, "not an address or network"},
		{"user add", "", exitUsage, "takes exactly 1 argument: NAME"},
		{"user add printer --cram-md5 --client 10.0.0.7 --client 10.1.0.0/16 --sender a@contoso.com,@fabrikam.com --recipient @contoso.com", "long enough\n", exitDone,
			"stored: the user printer; CRAM-MD5; from 10.0.0.7, 10.1.0.0/16; as a@contoso.com, @fabrikam.com; to @contoso.com"},
		{"user add Printer", "long enough\n", exitFailed, "replace it with --replace"},
		{"user add Printer --replace", "long enough\n", exitDone, "stored: the user Printer\n"},
		{"user list", "", exitDone, "Printer\n"},
		{"user list --json", "", exitDone, `{"name":"Printer"}`},
		{"user remove scanner", "", exitFailed, "see the names with: sealpost user list"},
		{"user remove printer", "", exitDone, ""},
		{"user list", "", exitDone, "no users"},
	})
}

func TestCertificate_ServesTheLAN(t *testing.T) {
	t.Chdir(t.TempDir())
	authority, err := parts.NewAuthority("Test CA")
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, change func(*x509.Certificate)) {
		issued, err := authority.IssueP256(change, "relay.contoso.com")
		if err != nil {
			t.Fatal(err)
		}
		data, err := parts.PFX(issued, "correct horse")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("lan.pfx", nil)
	write("client.pfx", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })
	if err := os.WriteFile("sealpost.toml", []byte(good+"[lan]\nhostname = \"relay.contoso.com\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	runAll(t, []commandLine{
		{"certificate ca --out ca.pem", "", exitDone, ""},
		{"certificate ca", "", exitDone, "-----BEGIN CERTIFICATE-----"},
		{"certificate show", "", exitFailed, "on the LAN   the box's own CA, CN=Sealpost CA"},
		{"certificate import --lan", "", exitUsage, "name either --pfx FILE"},
		{"certificate import --remove --pfx lan.pfx", "", exitUsage, "--remove with --lan alone"},
		{"certificate import --lan --pem ca.pem", "", exitUsage, "--lan goes with --pfx"},
		{"certificate import --lan --remove", "", exitFailed, "the site has no certificate for the LAN"},
		{"certificate import --lan --pfx client.pfx", "correct horse\n", exitFailed, "not for server authentication"},
		{"certificate import --lan --pfx lan.pfx", "wrong horse\n", exitFailed, "password"},
		{"certificate import --lan --pfx lan.pfx", "correct horse\n", exitDone, "stored: the site's certificate for the LAN"},
		{"certificate import --pfx lan.pfx", "correct horse\n", exitFailed, ""},
		{"certificate import --lan --remove", "", exitDone, "certificates of the box's own CA"},
	})
	text, err := os.ReadFile("ca.pem")
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	ca, err := x509.ParseCertificate(block.Bytes)
	if err != nil || !strings.HasPrefix(ca.Subject.CommonName, "Sealpost CA ") || strings.Join(ca.PermittedDNSDomains, " ") != "relay.contoso.com sealpost.local localhost" {
		t.Errorf("got a CA %v for %v, %v", ca.Subject, ca.PermittedDNSDomains, err)
	}
}
