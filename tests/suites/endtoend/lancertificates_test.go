package endtoend

import (
	"crypto/tls"
	"crypto/x509"
	"net/smtp"
	"os"
	"strings"
	"testing"
)

// TestLAN_PresentsCertificatesUnderTheBoxsCA has clients of three kinds: OpenSSL, which
// verifies the chain and its name constraints, one that supports only RSA, and one that
// supports ECDSA. The CA is the same after a restart.
func TestLAN_PresentsCertificatesUnderTheBoxsCA(t *testing.T) {
	s := newSite(t, siteConfig{})
	s.start()
	s.run("certificate", "ca", "--out", s.path("lan-ca.pem"))
	text := must(os.ReadFile(s.path("lan-ca.pem")))
	for _, c := range []struct {
		kind    string
		options []string
	}{{"ECDSA", nil}, {"RSA", []string{"-tls1_2", "-cipher", "aRSA"}}} {
		args := append([]string{"s_client", "-connect", s.address(), "-starttls", "smtp", "-CAfile", s.path("lan-ca.pem"), "-verify_hostname", "sealpost.local", "-verify_return_error", "-brief"}, c.options...)
		if output, err := call(t, "openssl", args...); err != nil || !strings.Contains(output, "Verification: OK") {
			t.Errorf("openssl with %s: %v\n%s", c.kind, err, output)
		}
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		t.Fatalf("no certificate in %s", text)
	}
	rsaOnly := tls.Config{RootCAs: pool, ServerName: "sealpost.local", MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}}
	modern := tls.Config{RootCAs: pool, ServerName: "sealpost.local"}
	for range 2 {
		if got := s.leaf(&rsaOnly).PublicKeyAlgorithm; got != x509.RSA {
			t.Errorf("a client that supports only RSA got %s", got)
		}
		if got := s.leaf(&modern).PublicKeyAlgorithm; got != x509.ECDSA {
			t.Errorf("a modern client got %s", got)
		}
		s.stop()
		s.start()
	}
}

// leaf returns the certificate that the box presents after STARTTLS.
func (s *site) leaf(config *tls.Config) *x509.Certificate {
	s.t.Helper()
	client := must(smtp.Dial(s.address()))
	defer client.Close()
	if err := client.StartTLS(config); err != nil {
		s.t.Fatal(err)
	}
	state, _ := client.TLSConnectionState()
	return state.PeerCertificates[0]
}
