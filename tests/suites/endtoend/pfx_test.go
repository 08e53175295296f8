package endtoend

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"sealpost/tests/rigs/parts"
)

// badPFX is a file that the import must reject, with the texts of the error.
type badPFX struct {
	name     string
	data     []byte
	password string
	want     []string
}

func badPFXs(t *testing.T) []badPFX {
	t.Helper()
	good := clientCertificate(t, authority())
	issuing := must(authority().Intermediate("Test Issuing CA"))
	below := must(issuing.IssueP256(nil, relayName))
	return []badPFX{
		{"with a wrong password", pfx(t, good), "wrong horse battery", []string{"the password does not open this PFX"}},
		{"with an empty password", pfx(t, good), "", []string{"the password does not open this PFX"}},
		{"without a key", pfxWithoutKey(t, good), password, []string{"no private key", "export it again"}},
		{"with two keys", must(os.ReadFile("../../../provisioning/certificate/testdata/java17-two-keys.pfx")), "sealpost",
			[]string{"more than one private key", "export only the"}},
		{"expired", pfx(t, expired(t)), password, []string{"expired on", "import a newer one"}},
		{"without the intermediate", pfx(t, withChain(below)), password, []string{"Test Issuing CA", "again"}},
		{"without the intermediate but with the root", pfx(t, withChain(below, authority())), password, []string{"Test Issuing CA", "again"}},
		{"with another intermediate of that name", pfx(t, withChain(below, must(authority().Intermediate("Test Issuing CA")), authority())), password,
			[]string{"Test Issuing CA", "again"}},
		{"with an impostor of the intermediate", pfx(t, withChain(below, must(authority().Impostor(issuing)), authority())), password,
			[]string{"Test Issuing CA", "again"}},
		{"of 20 MB of random bytes", randomBytes(20 << 20), password, []string{"not a PFX", "export only the certificate for the box and its chain"}},
		{"of 1 KiB of random bytes", randomBytes(1 << 10), password, []string{"not a PFX"}},
		{"of random bytes in a DER sequence", append([]byte{0x30, 0x82, 0x04, 0x00}, randomBytes(1<<10)...), password, []string{"not a PFX"}},
		{"that is empty", nil, password, []string{"empty"}},
		{"that is PEM", pemWithKey(t, good), password, []string{"PEM"}},
	}
}

func TestPFXImport_RejectsABadFileWithOneLineAndChangesNothing(t *testing.T) {
	t.Parallel()
	empty, configured := twoBoxes(t)
	for _, bad := range badPFXs(t) {
		t.Run(bad.name, func(t *testing.T) {
			for _, s := range []*site{empty, configured} {
				message := s.failImport(t, bad.data, bad.password)
				for _, want := range bad.want {
					if !strings.Contains(message, want) {
						t.Errorf("got error %q, want %q", message, want)
					}
				}
			}
		})
	}
}

func TestPFXImport_RejectsATruncatedFileWithOneLineAndChangesNothing(t *testing.T) {
	t.Parallel()
	empty, configured := twoBoxes(t)
	complete := pfx(t, clientCertificate(t, authority()))
	for end := 100; end < len(complete); end += 100 {
		for _, s := range []*site{empty, configured} {
			if message := s.failImport(t, complete[:end], password); !strings.Contains(message, "again") {
				t.Errorf("truncated at byte %d: got error %q, want the cure \"again\"", end, message)
			}
		}
	}
}

// twoBoxes returns a box without a certificate and one with a certificate.
func twoBoxes(t *testing.T) (empty, configured *site) {
	t.Helper()
	empty, configured = newSite(t, siteConfig{host: "localhost"}), newSite(t, siteConfig{host: "localhost"})
	configured.importPFX(clientCertificate(t, authority()))
	return empty, configured
}

// failImport runs an import that must fail, and returns its error line.
func (s *site) failImport(t *testing.T, data []byte, password string) string {
	t.Helper()
	s.write("bad.pfx", data)
	s.write("bad.password", []byte(password+"\n"))
	before := s.state(t)
	result := s.run("certificate", "import", "--pfx", "bad.pfx", "--password-file", "bad.password")
	if result.Status != 1 || result.Out != "" {
		t.Errorf("got status %d and output %q, want status 1 and no output", result.Status, result.Out)
	}
	if !bytes.Equal(s.state(t), before) {
		t.Error("the state has changed")
	}
	const maxLength = 600
	message, found := strings.CutPrefix(strings.TrimSuffix(result.Err, "\n"), "sealpost: bad.pfx: ")
	if !found || strings.Contains(message, "\n") || len(message) > maxLength {
		t.Errorf("got error %q, want one line of at most %d bytes", result.Err, maxLength)
	}
	if password != "" && strings.Contains(message, password) {
		t.Errorf("the error contains the password: %q", message)
	}
	return message
}

// state returns the content of the state file, or nil if there is none.
func (s *site) state(t *testing.T) []byte {
	t.Helper()
	data, err := os.ReadFile(s.box.State)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return data
}

func pfx(t *testing.T, certificate tls.Certificate) []byte {
	t.Helper()
	data, err := parts.PFX(certificate, password)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// withChain replaces the chain of a certificate.
func withChain(certificate tls.Certificate, chain ...*parts.Authority) tls.Certificate {
	certificate.Certificate = certificate.Certificate[:1:1]
	for _, authority := range chain {
		certificate.Certificate = append(certificate.Certificate, authority.Certificate.Raw)
	}
	return certificate
}

func expired(t *testing.T) tls.Certificate {
	t.Helper()
	certificate, err := authority().IssueP256(expiredYesterday, relayName)
	if err != nil {
		t.Fatal(err)
	}
	return withRoot(certificate, authority())
}

// expiredYesterday makes a certificate expire yesterday.
func expiredYesterday(c *x509.Certificate) {
	c.NotBefore, c.NotAfter = time.Now().AddDate(-1, 0, 0), time.Now().AddDate(0, 0, -1)
}

// pfxWithoutKey returns a PFX that was exported without the private key.
func pfxWithoutKey(t *testing.T, certificate tls.Certificate) []byte {
	t.Helper()
	dir := folder(t)
	if err := os.WriteFile(dir+"/certificate.pem", parts.PEM(certificate.Leaf.Raw, authority().Certificate.Raw), 0o600); err != nil {
		t.Fatal(err)
	}
	output, err := call(t, "openssl", "pkcs12", "-export", "-nokeys", "-in", dir+"/certificate.pem",
		"-passout", "pass:"+password, "-out", dir+"/no-key.pfx")
	if err != nil {
		t.Fatalf("openssl: %v: %s", err, output)
	}
	return must(os.ReadFile(dir + "/no-key.pfx"))
}

func pemWithKey(t *testing.T, certificate tls.Certificate) []byte {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return append(parts.PEM(certificate.Leaf.Raw), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...)
}

// randomBytes returns the same bytes in every run, because another first byte could
// start valid DER.
func randomBytes(size int) []byte {
	data := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{}).Read(data)
	return data
}
