package endtoend

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"sealpost/tests/rigs/parts"
)

// privateKeyParts returns the secret parts and encodings of a private key, by name.
func privateKeyParts(t *testing.T, key crypto.Signer) map[string][]byte {
	t.Helper()
	found := make(map[string][]byte)
	put := func(name string, encode func() ([]byte, error)) {
		der, err := encode()
		if err != nil {
			t.Fatal(err)
		}
		found[name] = der
	}
	put("PKCS#8", func() ([]byte, error) { return x509.MarshalPKCS8PrivateKey(key) })
	switch key := key.(type) {
	case *rsa.PrivateKey:
		found["PKCS#1"] = x509.MarshalPKCS1PrivateKey(key)
		for name, number := range map[string]*big.Int{"d": key.D, "p": key.Primes[0], "q": key.Primes[1],
			"dP": key.Precomputed.Dp, "dQ": key.Precomputed.Dq, "qInv": key.Precomputed.Qinv} {
			found[name] = number.Bytes()
		}
	case *ecdsa.PrivateKey:
		put("SEC 1", func() ([]byte, error) { return x509.MarshalECPrivateKey(key) })
		put("d", key.Bytes)
	}
	return found
}

// memoryDump returns a core dump of the running relay.
func (s *site) memoryDump() []byte {
	s.t.Helper()
	pid := strconv.Itoa(s.relay.PID())
	output, err := call(s.t, "gcore", "-o", s.path("core"), pid)
	if err != nil {
		s.t.Fatalf("gcore: %v: %s", err, output)
	}
	file, err := os.Open(s.path("core." + pid))
	if err != nil {
		s.t.Fatal(err)
	}
	defer file.Close()
	// Mapped, because it has the size of the address space that Go reserves.
	core, err := syscall.Mmap(int(file.Fd()), 0, int(must(file.Stat()).Size()), syscall.PROT_READ, syscall.MAP_PRIVATE)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = syscall.Munmap(core) })
	return core
}

func TestPrivateKey_IsNeitherInTheStateNorInMemoryAfterUse(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"RSA-2048", "P-256"} {
		for _, protection := range []string{"tpm", "file"} {
			// Not parallel: each core file needs more than a gigabyte of disk.
			t.Run(kind+" protected by "+protection, func(t *testing.T) {
				certificate, s := relayThatSigned(t, kind, protection)
				var searched patterns
				for name, secret := range privateKeyParts(t, certificate.PrivateKey.(crypto.Signer)) {
					searched.addSecret(name, secret)
				}
				core, state := s.memoryDump(), bytes.Join(decodeNested(s.read("box.state")), nil)
				if !bytes.Contains(core, certificate.Leaf.Raw) || !bytes.Contains(state, certificate.Leaf.Raw) {
					t.Error("the search does not find the certificate, which is in both")
				}
				inState, inCore := searched.findIn(state), searched.findIn(core)
				// A key in a file must be found, which shows that the search works.
				want := protection == "file"
				if len(inState) > 0 != want || len(inCore) > 0 != want {
					t.Errorf("want matches: %v\ngot in the state: %.300q\ngot in a core of %d bytes: %.300q", want, inState, len(core), inCore)
				}
			})
		}
	}
}

// relayThatSigned returns a relay that has used its key.
func relayThatSigned(t *testing.T, kind, protection string) (tls.Certificate, *site) {
	t.Helper()
	issue := authority().IssueRSA2048
	if kind == "P-256" {
		issue = func(names ...string) (tls.Certificate, error) { return authority().IssueP256(nil, names...) }
	}
	certificate := withRoot(must(issue(relayName)), authority())
	postfix := startPostfix(t, parts.PostfixConfig{Clients: []*x509.Certificate{certificate.Leaf}})
	s := relaySite(t, siteConfig{host: "localhost", port: postfix.Port, protection: protection}, certificate)
	s.mustDeliver()
	s.events("signature", 1)
	return certificate, s
}

func TestState_CannotBeUsedWithAnotherTPM(t *testing.T) {
	t.Parallel()
	_, s := relayThatSigned(t, "P-256", "tpm")
	s.stop()
	s.tpm = parts.StartSwtpm(t)
	s.configure()
	s.start()
	output, err := s.swaks()
	if err == nil || !strings.Contains(output, "<** 451 4.3.5") || !strings.Contains(output, "import the certificate again") {
		t.Errorf("swaks: %v, want the reply 451 4.3.5 with \"import the certificate again\"\n%s", err, output)
	}
	if cause, _ := s.events("signature failed", 1)[0]["cause"].(string); !strings.Contains(cause, "import the certificate again") {
		t.Errorf("got cause %q, want \"import the certificate again\"", cause)
	}
}

func (s *site) read(name string) []byte {
	s.t.Helper()
	data, err := os.ReadFile(s.path(name))
	if err != nil {
		s.t.Fatal(err)
	}
	return data
}
