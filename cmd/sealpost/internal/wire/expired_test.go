//go:build !quick

package wire

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sealpost/provisioning/certificate"
)

func TestCheckPath_AcceptsANewerCertificateForAnExpiredOne(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Fatalf("openssl is missing (Debian: openssl): %v", err)
	}
	dir := t.TempDir()
	run := func(line string) {
		t.Helper()
		cmd := exec.Command("openssl", strings.Fields(line)...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("openssl %s: %v\n%s", line, err, out)
		}
	}
	path := func(days string) certificate.Path {
		t.Helper()
		run("x509 -req -in leaf.csr -signkey leaf.key -out leaf.pem -days " + days)
		run("pkcs12 -export -inkey leaf.key -in leaf.pem -out leaf.pfx -passout pass:sealpost")
		data, err := os.ReadFile(filepath.Join(dir, "leaf.pfx"))
		if err != nil {
			t.Fatal(err)
		}
		bundle, err := certificate.ParsePFX(data, "sealpost")
		if err != nil {
			t.Fatal(err)
		}
		return bundle.Path
	}
	run("req -new -nodes -newkey rsa:2048 -keyout leaf.key -subj /CN=relay.contoso.com -out leaf.csr")
	if err := CheckPath(path("-1")); err == nil || !strings.Contains(err.Error(), "expired on") || !strings.Contains(err.Error(), "import a newer one") {
		t.Errorf("an expired certificate: got %v, want when it expired and what to do", err)
	}
	if err := CheckPath(path("30")); err != nil {
		t.Errorf("a newer one: %v", err)
	}
}
