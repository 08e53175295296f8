package bundle

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"
)

func TestRead_TellsTheCertificateForTheLANFromTheClients(t *testing.T) {
	client, server := pfx(t), pfx(t)
	b, err := Read(fstest.MapFS{"sealpost/sealpost.toml": content(good), "sealpost/contoso.pfx": {Data: client}, "sealpost/password.txt": content(password),
		"sealpost/LAN.pfx": {Data: server}, "sealpost/lan-password.txt": content(password + "\r\n"), "sealpost/sealpost-ca.crt": content("as the box wrote it")}, serial)
	if err := errors.Join(err, b.Check(acceptAnyPath)); err != nil {
		t.Fatal(err)
	}
	if string(b.PFX) != string(client) || string(b.LAN) != string(server) || b.LANPassword != password || b.PEM != nil || len(b.Files()) != 5 || len(b.Unused) != 0 {
		t.Errorf("read %v, unused %v", b.Files(), b.Unused)
	}
	for text, stick := range map[string]fstest.MapFS{
		"sealpost/lan.pfx: its password is not in the first line of sealpost/lan-password.txt": {"sealpost/lan.pfx": {Data: server}},
		"sealpost/lan.pfx: ": {"sealpost/lan.pfx": content("x")},
		"remove .txt":        {"sealpost/lan.pfx.txt": {Data: server}},
	} {
		b, err := Read(stick, serial)
		if err := errors.Join(err, b.Check(acceptAnyPath)); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("got %v, want an error with %q", err, text)
		}
	}
	alone, err := Read(fstest.MapFS{"sealpost/lan.pfx": {Data: server}, "sealpost/lan-password.txt": content(password)}, serial)
	if err != nil || alone.Origin == b.Origin || alone.PFX != nil {
		t.Errorf("alone: got %v, %v", alone.Files(), err)
	}
}
