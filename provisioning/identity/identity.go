// Package identity stores the certificates of the box: the client certificate for
// Exchange Online, the server certificate for the LAN, and the certificate of the
// OAuth client.
//
// It combines certificates, protected keys and the settings area. It must not
// know how a TPM is reached, where the settings area is stored, or connections.
package identity

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"

	"sealpost/hal"
	"sealpost/hal/fault"
	"sealpost/provisioning/certificate"
	"sealpost/provisioning/keyring"
	"sealpost/provisioning/state"
)

// Sections of the settings area that this package owns.
const (
	sectionConnector   = "connector"
	sectionRequest     = "connector request"
	sectionLAN         = "lan"
	sectionApplication = "application"
)

// ErrNone is returned if the box has no client certificate.
var ErrNone = fault.New(fault.NoCertificate, "this box has no client certificate yet")

// ErrPending is returned if a new request would delete the key of another.
var ErrPending = fault.New(fault.RequestPending, "a certificate request is pending on this box")

// ErrNoRequest is returned for a certificate without a pending request.
var ErrNoRequest = fault.New(fault.NoRequest, "no certificate was requested on this box")

// Store is the settings area.
type Store interface {
	Load(ctx context.Context) (state.Sections, error)
	Update(ctx context.Context, change func(state.Sections) error) error
}

// Protector protects a key as the settings require. binding is the digest of the
// certificate.
type Protector func(ctx context.Context, key crypto.Signer, binding []byte) (keyring.Key, error)

// Client is the client certificate for Exchange Online.
type Client struct {
	Chain []*x509.Certificate // leaf first
	Key   keyring.Key

	request []byte // the stored request for it; nil if there was none
}

// record is the stored form.
type record struct {
	Chain [][]byte    `json:"chain"` // DER
	Key   keyring.Key `json:"key"`
}

// Signer returns a signer. It does not use the TPM yet.
func (c Client) Signer(tpm hal.TPM) (crypto.Signer, error) {
	signer, err := keyring.Open(tpm, c.Key, binding(c.Chain[0]))
	if err != nil {
		return nil, err
	}
	if !belongs(signer, c.Chain[0]) {
		return nil, errors.New("the stored key does not belong to the certificate: import the certificate again")
	}
	return signer, nil
}

// belongs reports whether a key belongs to a certificate.
func belongs(key crypto.Signer, certificate *x509.Certificate) bool {
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(certificate.PublicKey)
}

// DER returns the chain in DER.
func (c Client) DER() [][]byte {
	var chain [][]byte
	for _, certificate := range c.Chain {
		chain = append(chain, certificate.Raw)
	}
	return chain
}

// Load returns the stored client certificate, or ErrNone.
func Load(ctx context.Context, store Store) (Client, error) {
	sections, err := store.Load(ctx)
	if err != nil {
		return Client{}, fmt.Errorf("reading the settings area: %w", err)
	}
	stored, found := sections[sectionConnector]
	if !found {
		return Client{}, ErrNone
	}
	return decode(stored)
}

// Protect protects the key of a PFX. It wipes the key in memory in any case, and
// stores nothing.
func Protect(ctx context.Context, protect Protector, bundle certificate.Bundle) (Client, error) {
	defer certificate.WipeKey(bundle.Key)
	key, err := protect(ctx, bundle.Key, binding(bundle.Leaf))
	if err != nil {
		return Client{}, hal.Tried("protecting the private key", err)
	}
	return Client{Chain: bundle.Chain, Key: key}, nil
}

// Import protects the key of a PFX and stores it with its chain, in one write.
func Import(ctx context.Context, store Store, protect Protector, bundle certificate.Bundle) (Client, error) {
	client, err := Protect(ctx, protect, bundle)
	if err != nil {
		return Client{}, err
	}
	return client, update(ctx, store, client.Put)
}

// Request creates a key in the TPM, stores it as pending, and returns its
// PKCS #10 request in PEM (RFC 2986). If another request is pending, it fails with
// ErrPending, or replaces that request and its key once the new one is complete.
func Request(ctx context.Context, store Store, tpm hal.TPM, keyType hal.KeyType, names []string, replace bool) ([]byte, error) {
	if err := certificate.CheckNames(names); err != nil {
		return nil, err
	}
	sections, err := store.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the settings area: %w", err)
	}
	if _, pending := sections[sectionRequest]; pending && !replace {
		return nil, ErrPending
	}
	key, err := keyring.Generate(ctx, tpm, keyType)
	if err != nil {
		return nil, err
	}
	signer, err := keyring.Open(tpm, key, nil)
	if err != nil {
		return nil, err
	}
	request, err := certificate.Request(signer, names)
	if err != nil {
		return nil, fmt.Errorf("signing the request: %w", err)
	}
	return request, update(ctx, store, func(sections state.Sections) error {
		if _, pending := sections[sectionRequest]; pending && !replace {
			return ErrPending
		}
		return put(sections, sectionRequest, key)
	})
}

// Complete stores the certificate for the pending request, if checkPath accepts
// it.
func Complete(ctx context.Context, store Store, tpm hal.TPM, certificates certificate.Certificates, checkPath func(certificate.Path) error) (Client, error) {
	client, err := Match(ctx, store, tpm, certificates, checkPath)
	if err != nil {
		return Client{}, err
	}
	return client, update(ctx, store, client.Put)
}

// Match combines the certificate for the pending request with the request's key,
// if checkPath accepts it. It stores nothing.
func Match(ctx context.Context, store Store, tpm hal.TPM, certificates certificate.Certificates, checkPath func(certificate.Path) error) (Client, error) {
	sections, err := store.Load(ctx)
	if err != nil {
		return Client{}, fmt.Errorf("reading the settings area: %w", err)
	}
	pending, found := sections[sectionRequest]
	if !found {
		return Client{}, ErrNoRequest
	}
	var key keyring.Key
	if err := json.Unmarshal(pending, &key); err != nil {
		return Client{}, fmt.Errorf("reading the key of the request: %w", err)
	}
	signer, err := keyring.Open(tpm, key, nil)
	if err != nil {
		return Client{}, fmt.Errorf("opening the key of the request: %w", err)
	}
	path, err := certificates.Order(signer.Public())
	if err != nil {
		return Client{}, err
	}
	if err := checkPath(path); err != nil {
		return Client{}, err
	}
	return Client{Chain: path.Chain, Key: key, request: pending}, nil
}

// Put writes the client certificate into the sections and deletes its request.
func (c Client) Put(sections state.Sections) error {
	if c.request != nil && bytes.Equal(c.request, sections[sectionRequest]) {
		delete(sections, sectionRequest)
	}
	return put(sections, sectionConnector, record{c.DER(), c.Key})
}

func update(ctx context.Context, store Store, change func(state.Sections) error) error {
	if err := store.Update(ctx, change); err != nil {
		return fmt.Errorf("writing the settings area: %w", err)
	}
	return nil
}

func put(sections state.Sections, name string, value any) error {
	encoded, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encoding the section %q: %w", name, err)
	}
	sections[name] = encoded
	return nil
}

func decode(stored []byte) (Client, error) {
	var r record
	if err := json.Unmarshal(stored, &r); err != nil {
		return Client{}, fmt.Errorf("reading the stored certificate: %w", err)
	}
	client := Client{Key: r.Key}
	for _, der := range r.Chain {
		parsed, err := x509.ParseCertificate(der)
		if err != nil {
			return Client{}, fmt.Errorf("reading the stored certificate: %w", err)
		}
		client.Chain = append(client.Chain, parsed)
	}
	if len(client.Chain) == 0 {
		return Client{}, errors.New("the stored certificate is empty: import it again")
	}
	return client, nil
}

// binding returns the digest that binds a key to its certificate.
func binding(leaf *x509.Certificate) []byte {
	digest := sha256.Sum256(leaf.Raw)
	return digest[:]
}
