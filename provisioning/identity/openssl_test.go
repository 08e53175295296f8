//go:build !quick

package identity

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sealpost/provisioning/keyring"
)

// openssl verifies a certificate under a CA.
func openssl(t *testing.T, ca, leaf *x509.Certificate, options ...string) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, c *x509.Certificate) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	args := append([]string{"verify", "-purpose", "sslserver", "-x509_strict", "-CAfile", write("ca.pem", ca)}, options...)
	output, _ := exec.Command("openssl", append(args, write("leaf.pem", leaf))...).CombinedOutput()
	return string(output)
}

func TestLAN_IsVerifiedByOpenSSLWithinTheNameConstraints(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Fatal("this test needs openssl")
	}
	store := &memory{}
	all := lanOf(t, store, names...)
	ca := must(x509.ParseCertificate(all[0].Certificate[1]))
	stored, _ := readLAN(store.sections, names)
	key := must(reusableCA(t.Context(), keyring.FileSealer(nil), stored, names))
	for _, c := range all {
		if output := openssl(t, ca, c.Leaf, "-verify_hostname", "box.example"); !strings.Contains(output, ": OK") {
			t.Errorf("openssl: %s", output)
		}
	}
	for name, permitted := range map[string]bool{
		"box.example": true, "mail.box.example": true, "localhost": true, "sealpost.local": true, "192.168.10.25": true, "fd00::1": true, "127.0.0.1": true,
		"login.microsoftonline.com": false, "notbox.example": false, "printer.local": false, "203.0.113.25": false, "2001:db8::1": false,
	} {
		leaf := must(signServer(ca, key, all[0].Leaf.PublicKey, []string{name}))
		output := openssl(t, ca, leaf)
		if permitted != strings.Contains(output, ": OK") || !permitted && !strings.Contains(output, "permitted subtree violation") {
			t.Errorf("%s: want permitted %t, openssl: %s", name, permitted, output)
		}
		if permits(ca, []string{name}) != permitted {
			t.Errorf("%s: permits says %t", name, !permitted)
		}
	}
}
