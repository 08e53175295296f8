//go:build !quick

package tpm_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"sealpost/hal"
	"sealpost/hal/linux/tpm"
	"sealpost/tests/rigs/parts"
)

// privateKeys holds one key of each type, made once: RSA takes seconds.
var privateKeys = sync.OnceValue(func() map[hal.KeyType]crypto.Signer {
	keys := map[hal.KeyType]crypto.Signer{}
	for t, bits := range map[hal.KeyType]int{hal.RSA2048: 2048, hal.RSA3072: 3072, hal.RSA4096: 4096} {
		key, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			panic(err)
		}
		keys[t] = key
	}
	for t, curve := range map[hal.KeyType]elliptic.Curve{hal.ECDSAP256: elliptic.P256(), hal.ECDSAP384: elliptic.P384()} {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			panic(err)
		}
		keys[t] = key
	}
	return keys
})

func open(t *testing.T, address string, opts ...tpm.Option) *tpm.TPM {
	t.Helper()
	chip, err := tpm.New(address, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := chip.Close(); err != nil {
			t.Error(err)
		}
	})
	return chip
}

func importKey(t *testing.T, chip *tpm.TPM, keyType hal.KeyType) (hal.TPMObject, crypto.Signer) {
	t.Helper()
	obj, err := chip.ImportKey(t.Context(), privateKeys()[keyType])
	if err != nil {
		t.Fatal(err)
	}
	signer, err := chip.LoadKey(obj)
	if err != nil {
		t.Fatal(err)
	}
	return obj, signer
}

// chipTypes are the key types that the software TPM supports.
var chipTypes = []hal.KeyType{hal.RSA2048, hal.RSA3072, hal.ECDSAP256, hal.ECDSAP384}

func TestImportKey_MakesAKeyThatCompletesMutualTLS(t *testing.T) {
	chip := open(t, parts.StartSwtpm(t).Address())
	for _, keyType := range chipTypes {
		_, signer := importKey(t, chip, keyType)
		for name, version := range map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13} {
			t.Run(string(keyType)+" "+name, func(t *testing.T) { handshake(t, signer, version) })
		}
	}
}

// handshake checks that a TLS server accepts the signer's client certificate.
func handshake(t *testing.T, signer crypto.Signer, version uint16) {
	t.Helper()
	client := selfSigned(t, signer)
	server := selfSigned(t, privateKeys()[hal.ECDSAP256])
	trusted := func(c tls.Certificate) *x509.CertPool {
		pool := x509.NewCertPool()
		pool.AddCert(c.Leaf)
		return pool
	}
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	deadline := time.Now().Add(20 * time.Second)
	near.SetDeadline(deadline)
	far.SetDeadline(deadline)
	accepted := make(chan error, 1)
	go func() {
		conn := tls.Server(far, &tls.Config{
			Certificates: []tls.Certificate{server}, ClientCAs: trusted(client),
			ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: version, MaxVersion: version,
		})
		if err := conn.Handshake(); err != nil {
			accepted <- err
			return
		}
		_, err := conn.Write([]byte("ok"))
		accepted <- err
	}()
	conn := tls.Client(near, &tls.Config{
		Certificates: []tls.Certificate{client}, RootCAs: trusted(server), ServerName: "relay.example",
		MinVersion: version, MaxVersion: version,
	})
	if _, err := io.ReadFull(conn, make([]byte, 2)); err != nil {
		t.Errorf("client: %v", err)
	}
	if err := <-accepted; err != nil {
		t.Errorf("server: %v", err)
	}
}

func selfSigned(t *testing.T, signer crypto.Signer) tls.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "relay.example"}, DNSNames: []string{"relay.example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, signer.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: signer, Leaf: leaf}
}
