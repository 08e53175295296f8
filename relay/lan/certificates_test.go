package lan

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"testing"
	"time"
)

func selfSigned(key crypto.Signer) tls.Certificate {
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"box.example"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestTLS_GivesEachClientACertificateThatItSupports(t *testing.T) {
	rsaOnly := []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_RSA_WITH_AES_128_CBC_SHA}
	for name, c := range map[string]struct {
		client *tls.Config
		want   x509.PublicKeyAlgorithm
	}{
		"TLS 1.3":                      {&tls.Config{}, x509.ECDSA},
		"TLS 1.2 with ECDSA":           {&tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}}, x509.ECDSA},
		"an unknown name, only ECDSA":  {&tls.Config{ServerName: "other.example", MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}}, x509.ECDSA},
		"TLS 1.2 with RSA":             {&tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: rsaOnly}, x509.RSA},
		"TLS 1.0 and RSA key exchange": {&tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10, CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA}}, x509.RSA},
	} {
		t.Run(name, func(t *testing.T) {
			state, err := handshake(t, LegacyTLS(certificatesOfTest), c.client)
			if err != nil {
				t.Fatal(err)
			}
			if got := state.PeerCertificates[0].PublicKeyAlgorithm; got != c.want {
				t.Errorf("got a certificate with %s, want %s", got, c.want)
			}
		})
	}
}

func TestTLS_ReturnsTheErrorOfTheCertificates(t *testing.T) {
	failed := errors.New("no TPM")
	config := TLS(func() ([]tls.Certificate, error) { return nil, failed })
	if _, err := config.GetCertificate(&tls.ClientHelloInfo{}); !errors.Is(err, failed) {
		t.Errorf("got %v, want %v", err, failed)
	}
	if _, err := TLS(func() ([]tls.Certificate, error) { return nil, nil }).GetCertificate(&tls.ClientHelloInfo{}); err == nil {
		t.Error("got no error without a certificate")
	}
}
