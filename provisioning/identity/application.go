package identity

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"math/big"
	"time"

	"sealpost/hal"
	"sealpost/hal/fault"
	"sealpost/provisioning/keyring"
	"sealpost/provisioning/state"
)

// Generator creates an RSA key, protected as the settings require and without a
// certificate.
type Generator func(ctx context.Context) (keyring.Key, error)

// Application is the certificate of the box as an OAuth client. The token issuer
// verifies the box's signatures with it.
type Application struct {
	Certificate *x509.Certificate
	Key         keyring.Key
}

// applicationRecord is the stored form.
type applicationRecord struct {
	Certificate []byte      `json:"certificate"` // DER
	Key         keyring.Key `json:"key"`
}

// Signer returns a signer. It does not use the TPM yet.
func (a Application) Signer(tpm hal.TPM) (crypto.Signer, error) {
	signer, err := keyring.Open(tpm, a.Key, nil)
	if err != nil {
		return nil, err
	}
	if !belongs(signer, a.Certificate) {
		return nil, fault.New(fault.ApplicationDamaged, "the stored key does not belong to the box's own certificate")
	}
	return signer, nil
}

// OwnApplication returns the certificate of the OAuth client; if none is stored,
// it creates and stores one with this name.
func OwnApplication(ctx context.Context, store Store, tpm hal.TPM, generate Generator, name string) (Application, error) {
	sections, err := store.Load(ctx)
	if err != nil {
		return Application{}, fmt.Errorf("reading the settings area: %w", err)
	}
	if stored, found := sections[sectionApplication]; found {
		return decodeApplication(stored)
	}
	made, err := makeApplication(ctx, tpm, generate, name)
	if err != nil {
		return Application{}, err
	}
	err = update(ctx, store, func(sections state.Sections) (err error) {
		// If another process was first, its certificate may be uploaded already.
		if stored, found := sections[sectionApplication]; found {
			made, err = decodeApplication(stored)
			return err
		}
		return made.put(sections)
	})
	return made, err
}

// RenewApplication replaces the certificate and key by new ones; the issuer
// rejects the box until the new certificate is uploaded.
func RenewApplication(ctx context.Context, store Store, tpm hal.TPM, generate Generator, name string) (Application, error) {
	made, err := makeApplication(ctx, tpm, generate, name)
	if err != nil {
		return Application{}, err
	}
	return made, update(ctx, store, made.put)
}

func (a Application) put(sections state.Sections) error {
	return put(sections, sectionApplication, applicationRecord{a.Certificate.Raw, a.Key})
}

func decodeApplication(stored []byte) (Application, error) {
	var r applicationRecord
	err := json.Unmarshal(stored, &r)
	if err == nil {
		var leaf *x509.Certificate
		if leaf, err = x509.ParseCertificate(r.Certificate); err == nil {
			return Application{leaf, r.Key}, nil
		}
	}
	return Application{}, fault.New(fault.ApplicationDamaged, "the box's own certificate is damaged").Wrap(err)
}

func makeApplication(ctx context.Context, tpm hal.TPM, generate Generator, name string) (Application, error) {
	key, err := generate(ctx)
	if err != nil {
		return Application{}, hal.Tried("creating the key of the box's own certificate", err)
	}
	signer, err := keyring.Open(tpm, key, nil)
	if err != nil {
		return Application{}, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return Application{}, fmt.Errorf("making a serial number: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		// The box may not know the time yet; the issuer can remove the
		// certificate at any time.
		NotBefore: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:  time.Date(2049, 12, 31, 0, 0, 0, 0, time.UTC),
		KeyUsage:  x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, signer.Public(), signer)
	if err != nil {
		return Application{}, fmt.Errorf("signing the box's own certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return Application{}, fmt.Errorf("reading the box's own certificate: %w", err)
	}
	return Application{leaf, key}, nil
}
