package identity

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"time"

	"sealpost/hal"
	"sealpost/provisioning/keyring"
	"sealpost/provisioning/state"
)

// lanRecord is the stored form of the LAN certificate.
type lanRecord struct {
	Certificate []byte         `json:"certificate"` // DER
	Key         keyring.Secret `json:"key"`         // PKCS#8
}

// LAN returns the server certificate for the LAN: the stored one if it is for
// this host name, else a new one, which it stores, so that devices that pin
// certificates get the same one after each restart.
func LAN(ctx context.Context, store Store, sealer keyring.Sealer, hostname string) (tls.Certificate, error) {
	sections, err := store.Load(ctx)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("reading the settings area: %w", err)
	}
	if stored, found := sections[sectionLAN]; found {
		var r lanRecord
		if err := json.Unmarshal(stored, &r); err != nil {
			return tls.Certificate{}, fmt.Errorf("reading the LAN certificate: %w", err)
		}
		leaf, err := x509.ParseCertificate(r.Certificate)
		if err != nil || leaf.VerifyHostname(hostname) != nil {
			return makeLAN(ctx, store, sealer, hostname)
		}
		own, err := openLAN(ctx, sealer, r, leaf)
		if !sealedElsewhere(err) {
			return own, err
		}
	}
	return makeLAN(ctx, store, sealer, hostname)
}

// sealedElsewhere reports whether the key was sealed by another TPM.
func sealedElsewhere(err error) bool {
	fault := (*hal.TPMFault)(nil)
	return errors.As(err, &fault) && fault.State == hal.TPMReplaced
}

func openLAN(ctx context.Context, sealer keyring.Sealer, r lanRecord, leaf *x509.Certificate) (tls.Certificate, error) {
	der, err := sealer.Open(ctx, sectionLAN, r.Key)
	if err != nil {
		return tls.Certificate{}, hal.Tried("opening the LAN key", err)
	}
	defer clear(der)
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("reading the LAN key: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{r.Certificate}, PrivateKey: key, Leaf: leaf}, nil
}

func makeLAN(ctx context.Context, store Store, sealer keyring.Sealer, hostname string) (tls.Certificate, error) {
	certificate, err := Ephemeral(hostname)
	if err != nil {
		return tls.Certificate{}, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("encoding the LAN key: %w", err)
	}
	defer clear(der)
	sealed, err := sealer.Seal(ctx, sectionLAN, der)
	if err != nil {
		return tls.Certificate{}, hal.Tried("sealing the LAN key", err)
	}
	return certificate, update(ctx, store, func(sections state.Sections) error {
		return put(sections, sectionLAN, lanRecord{certificate.Certificate[0], sealed})
	})
}

// Ephemeral returns a new certificate that is not stored, for a box whose own
// cannot be opened. It is valid even if the clock of the box or a device is wrong.
func Ephemeral(hostname string) (tls.Certificate, error) {
	// Old printers support only RSA.
	const bits = 2048
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("making the LAN key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("making a serial number: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: hostname},
		DNSNames:     []string{hostname},
		NotBefore:    time.Date(1970, 1, 2, 0, 0, 0, 0, time.UTC),
		NotAfter:     time.Date(2049, 12, 31, 0, 0, 0, 0, time.UTC),
		KeyUsage:     x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("signing the box's own certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("reading the box's own certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}
