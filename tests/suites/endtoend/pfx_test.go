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

// badPFX is a file that must not be imported, and what a technician is told.
type badPFX struct {
	name     string
	data     []byte
	password string
	words    []string
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
		{"without the intermediate", pfx(t, chained(below)), password, []string{"Test Issuing CA", "again"}},
		{"without the intermediate but with the root", pfx(t, chained(below, authority())), password, []string{"Test Issuing CA", "again"}},
		{"with another intermediate of that name", pfx(t, chained(below, must(authority().Intermediate("Test Issuing CA")), authority())), password,
			[]string{"Test Issuing CA", "again"}},
		{"with an impostor of the intermediate", pfx(t, chained(below, must(authority().Impostor(issuing)), authority())), password,
			[]string{"Test Issuing CA", "again"}},
		{"of 20 MB of noise", noise(20 << 20), password, []string{"not a PFX", "choose another file"}},
		{"of a kilobyte of noise", noise(1 << 10), password, []string{"not a PFX"}},
		{"of noise in a sequence of DER", append([]byte{0x30, 0x82, 0x04, 0x00}, noise(1<<10)...), password, []string{"not a PFX"}},
		{"that is empty", nil, password, []string{"empty"}},
		{"that is PEM", pemWithKey(t, good), password, []string{"PEM"}},
	}
}

func TestPFXImport_RefusesABadFileInASentenceAndChangesNothing(t *testing.T) {
	t.Parallel()
	fresh, used := twoBoxes(t)
	for _, bad := range badPFXs(t) {
		t.Run(bad.name, func(t *testing.T) {
			for _, s := range []*site{fresh, used} {
				said := s.refuses(t, bad.data, bad.password)
				for _, words := range bad.words {
					if !strings.Contains(said, words) {
						t.Errorf("the program does not say %q but %q", words, said)
					}
				}
			}
		})
	}
}

func TestPFXImport_RefusesATruncatedFileInASentenceAndChangesNothing(t *testing.T) {
	t.Parallel()
	fresh, used := twoBoxes(t)
	whole := pfx(t, clientCertificate(t, authority()))
	for end := 100; end < len(whole); end += 100 {
		for _, s := range []*site{fresh, used} {
			if said := s.refuses(t, whole[:end], password); !strings.Contains(said, "again") {
				t.Errorf("cut at byte %d: no cure in %q", end, said)
			}
		}
	}
}

// twoBoxes are one that knows no certificate yet and one that does.
func twoBoxes(t *testing.T) (fresh, used *site) {
	t.Helper()
	fresh, used = newSite(t, told{host: "localhost"}), newSite(t, told{host: "localhost"})
	used.importPFX(clientCertificate(t, authority()))
	return fresh, used
}

// refuses tries an import that has to fail, and gives the one line that the
// program says about it.
func (s *site) refuses(t *testing.T, data []byte, password string) string {
	t.Helper()
	s.write("bad.pfx", data)
	s.write("bad.password", []byte(password+"\n"))
	before := s.state(t)
	result := s.run("certificate", "import", "--pfx", "bad.pfx", "--password-file", "bad.password")
	if result.Status != 1 || result.Out != "" {
		t.Errorf("the program ended with %d and said %q", result.Status, result.Out)
	}
	if !bytes.Equal(s.state(t), before) {
		t.Error("the state has changed")
	}
	const most = 600
	said, found := strings.CutPrefix(strings.TrimSuffix(result.Err, "\n"), "sealpost: bad.pfx: ")
	if !found || strings.Contains(said, "\n") || len(said) > most {
		t.Errorf("not a sentence: %q", result.Err)
	}
	if password != "" && strings.Contains(said, password) {
		t.Errorf("the password is shown: %q", said)
	}
	return said
}

// state is the state file's content, nil where there is none.
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

// chained is a certificate with the chain given in place of its own.
func chained(certificate tls.Certificate, chain ...*parts.Authority) tls.Certificate {
	certificate.Certificate = certificate.Certificate[:1:1]
	for _, authority := range chain {
		certificate.Certificate = append(certificate.Certificate, authority.Certificate.Raw)
	}
	return certificate
}

func expired(t *testing.T) tls.Certificate {
	t.Helper()
	certificate, err := authority().IssueP256(lastYear, relayName)
	if err != nil {
		t.Fatal(err)
	}
	return withRoot(certificate, authority())
}

// lastYear gives a certificate a life that ended yesterday.
func lastYear(c *x509.Certificate) {
	c.NotBefore, c.NotAfter = time.Now().AddDate(-1, 0, 0), time.Now().AddDate(0, 0, -1)
}

// pfxWithoutKey is what an export without the private key gives.
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

// noise is the same at every run, as a random first byte may look like DER's.
func noise(size int) []byte {
	data := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{}).Read(data)
	return data
}
