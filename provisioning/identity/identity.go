// Package identity keeps the certificates by which the box is known: the
// client certificate it shows to Exchange Online, its own on the LAN, and its
// own as an OAuth client.
//
// It brings certificates, protected keys and the settings area together. It
// must not know how a TPM is reached, where the settings area lies, or what a
// connection looks like.
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

// ErrNone is returned where the box has no client certificate yet.
var ErrNone = fault.New(fault.NoCertificate, "this box has no client certificate yet")

// ErrPending is returned where a request would throw away the key of another.
var ErrPending = fault.New(fault.RequestPending, "a certificate was requested on this box already and has not come yet")

// ErrNoRequest is returned where a certificate comes without the request that
// it answers.
var ErrNoRequest = fault.New(fault.NoRequest, "no certificate was requested on this box")

// Store is the settings area.
type Store interface {
	Load(ctx context.Context) (state.Sections, error)
	Update(ctx context.Context, change func(state.Sections) error) error
}

// Protector brings a key under the protection that the settings ask for.
// binding is the certificate's digest.
type Protector func(ctx context.Context, key crypto.Signer, binding []byte) (keyring.Key, error)

// Client is the certificate shown to Exchange Online.
type Client struct {
	Chain []*x509.Certificate // leaf first
	Key   keyring.Key

	answers []byte // the stored request that it came for; nil for none
}

// record is the stored form.
type record struct {
	Chain [][]byte    `json:"chain"` // DER
	Key   keyring.Key `json:"key"`
}

// Signer returns the key for use. It does not touch the TPM yet.
func (c Client) Signer(tpm hal.TPM) (crypto.Signer, error) {
	signer, err := keyring.Open(tpm, c.Key, binding(c.Chain[0]))
	if err != nil {
		return nil, err
	}
	if !belongs(signer, c.Chain[0]) {
		return nil, errors.New("the stored key is not the certificate's: import the certificate again")
	}
	return signer, nil
}

// belongs reports whether a key is the certificate's.
func belongs(key crypto.Signer, certificate *x509.Certificate) bool {
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(certificate.PublicKey)
}

// DER returns the chain as TLS sends it.
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
	stored, there := sections[sectionConnector]
	if !there {
		return Client{}, ErrNone
	}
	return decode(stored)
}

// Protect brings the key of an opened PFX under protection; the key in memory
// is wiped, whatever becomes of it. Nothing is stored yet.
func Protect(ctx context.Context, protect Protector, bundle certificate.Bundle) (Client, error) {
	defer certificate.WipeKey(bundle.Key)
	key, err := protect(ctx, bundle.Key, binding(bundle.Leaf))
	if err != nil {
		return Client{}, fmt.Errorf("protecting the private key: %w", err)
	}
	return Client{Chain: bundle.Chain, Key: key}, nil
}

// Import protects the key of an opened PFX and stores it with its chain.
// Nothing is stored unless all of it is.
func Import(ctx context.Context, store Store, protect Protector, bundle certificate.Bundle) (Client, error) {
	client, err := Protect(ctx, protect, bundle)
	if err != nil {
		return Client{}, err
	}
	return client, update(ctx, store, client.Put)
}

// Abandon deletes the pending request and its key.
func Abandon(ctx context.Context, store Store) error {
	return update(ctx, store, func(sections state.Sections) error {
		delete(sections, sectionRequest)
		return nil
	})
}

// Request has the TPM make a key, stores it until the certificate comes, and
// returns the PKCS#10 request for it in PEM (RFC 2986). It fails with ErrPending
// where a certificate is still to come.
func Request(ctx context.Context, store Store, tpm hal.TPM, keyType hal.KeyType, names []string) ([]byte, error) {
	sections, err := store.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the settings area: %w", err)
	}
	if _, pending := sections[sectionRequest]; pending {
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
		if _, pending := sections[sectionRequest]; pending {
			return ErrPending
		}
		return put(sections, sectionRequest, key)
	})
}

// Complete stores the certificate that answers the request, if judge has
// nothing against it.
func Complete(ctx context.Context, store Store, tpm hal.TPM, certificates []*x509.Certificate, judge func(certificate.Path) error) (Client, error) {
	client, err := Answer(ctx, store, tpm, certificates, judge)
	if err != nil {
		return Client{}, err
	}
	return client, update(ctx, store, client.Put)
}

// Answer joins the certificate that answers the request with the request's
// key, if judge has nothing against it. Nothing is stored yet.
func Answer(ctx context.Context, store Store, tpm hal.TPM, certificates []*x509.Certificate, judge func(certificate.Path) error) (Client, error) {
	sections, err := store.Load(ctx)
	if err != nil {
		return Client{}, fmt.Errorf("reading the settings area: %w", err)
	}
	pending, there := sections[sectionRequest]
	if !there {
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
	path, err := certificate.Order(certificates, signer.Public())
	if err != nil {
		return Client{}, err
	}
	if err := judge(path); err != nil {
		return Client{}, err
	}
	return Client{Chain: path.Chain, Key: key, answers: pending}, nil
}

// Put makes the client certificate the box's own, with the request that it
// answers out of the way.
func (c Client) Put(sections state.Sections) error {
	if c.answers != nil && bytes.Equal(c.answers, sections[sectionRequest]) {
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

// binding ties a sealed key to its certificate.
func binding(leaf *x509.Certificate) []byte {
	digest := sha256.Sum256(leaf.Raw)
	return digest[:]
}
