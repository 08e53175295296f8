package identity

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"sealpost/hal"
	"sealpost/provisioning/keyring"
	"sealpost/provisioning/state"
)

// rsaBits is the size of RSA keys for the LAN, which old devices support.
const rsaBits = 2048

// secretLANCA is the name of the sealed key of the box's own CA.
const secretLANCA = "lan ca"

// lanRecord is the stored form of the box's own CA and of its server certificates.
type lanRecord struct {
	CA    []byte         `json:"ca"` // DER
	CAKey keyring.Secret `json:"ca_key"`
	// Leaves are the server certificates: ECDSA, then RSA.
	Leaves [][]byte       `json:"leaves"`
	Keys   keyring.Secret `json:"keys"` // those of the leaves, PKCS#8, as JSON
}

// lan is what a record contains, parsed.
type lan struct {
	record lanRecord
	ca     *x509.Certificate
	leaves []*x509.Certificate
}

// errOvertaken is returned by a change if another process has changed the section.
var errOvertaken = errors.New("another process has made LAN certificates meanwhile")

// LAN returns the server certificates for the LAN, the preferred one first: the site's
// own if there is one, else those of the box's own CA for these names. What is missing
// it makes and stores, so that devices that pin a certificate or trust the CA get the
// same after each restart.
func LAN(ctx context.Context, store Store, sealer keyring.Sealer, names []string) ([]tls.Certificate, error) {
	sections, err := store.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the settings area: %w", err)
	}
	site, err := openSite(ctx, sections, sealer)
	if err == nil {
		return []tls.Certificate{site}, nil
	}
	if !errors.Is(err, ErrNoSite) && !sealedElsewhere(err) {
		return nil, err
	}
	var all []tls.Certificate
	err = ensureLAN(ctx, store, sealer, names, func(own lan) (err error) {
		all, err = own.open(ctx, sealer)
		return err
	})
	return all, err
}

// LANAuthority returns the certificate of the box's own CA, which devices may trust. It
// makes the CA if there is none for these names.
func LANAuthority(ctx context.Context, store Store, sealer keyring.Sealer, names []string) (ca *x509.Certificate, err error) {
	err = ensureLAN(ctx, store, sealer, names, func(own lan) error {
		ca = own.ca
		return nil
	})
	return ca, err
}

// ensureLAN calls use with the stored certificates if they are for these names and their
// keys can be opened. Otherwise it makes others and stores them first, unless another
// process does so meanwhile.
func ensureLAN(ctx context.Context, store Store, sealer keyring.Sealer, names []string, use func(lan) error) error {
	for {
		sections, err := store.Load(ctx)
		if err != nil {
			return fmt.Errorf("reading the settings area: %w", err)
		}
		stored, fits := readLAN(sections, names)
		if fits {
			if err := use(stored); !sealedElsewhere(err) {
				return err
			}
		}
		made, err := makeLAN(ctx, sealer, stored, names)
		if err != nil {
			return err
		}
		err = update(ctx, store, func(now state.Sections) error {
			if !bytes.Equal(now[sectionLAN], sections[sectionLAN]) {
				return errOvertaken
			}
			return put(now, sectionLAN, made.record)
		})
		if err == nil {
			return use(made)
		}
		if !errors.Is(err, errOvertaken) {
			return err
		}
	}
}

// readLAN returns the stored certificates, and whether they are for these names. If they
// cannot be read, or are of the form of an earlier version, there are none.
func readLAN(sections state.Sections, names []string) (found lan, fits bool) {
	if json.Unmarshal(sections[sectionLAN], &found.record) != nil || found.record.CA == nil {
		return lan{}, false
	}
	var err error
	if found.ca, err = x509.ParseCertificate(found.record.CA); err != nil {
		return lan{}, false
	}
	for _, der := range found.record.Leaves {
		leaf, err := x509.ParseCertificate(der)
		if err != nil {
			return lan{}, false
		}
		found.leaves = append(found.leaves, leaf)
	}
	fits = len(found.leaves) > 0 && permits(found.ca, names)
	for _, leaf := range found.leaves {
		fits = fits && covers(leaf, names) && leaf.CheckSignatureFrom(found.ca) == nil
	}
	return found, fits
}

// open returns the certificates with their keys.
func (l lan) open(ctx context.Context, sealer keyring.Sealer) ([]tls.Certificate, error) {
	encoded, err := sealer.Open(ctx, sectionLAN, l.record.Keys)
	if err != nil {
		return nil, hal.Tried("opening the LAN keys", err)
	}
	defer clear(encoded)
	var keys [][]byte
	if err := json.Unmarshal(encoded, &keys); err != nil || len(keys) != len(l.leaves) {
		return nil, errors.New("the stored LAN keys are damaged: reset the box to its factory state")
	}
	var all []tls.Certificate
	for i, leaf := range l.leaves {
		key, err := parseKey(keys[i], leaf)
		clear(keys[i])
		if err != nil {
			return nil, fmt.Errorf("reading a LAN key: %w", err)
		}
		all = append(all, tls.Certificate{Certificate: [][]byte{leaf.Raw, l.ca.Raw}, PrivateKey: key, Leaf: leaf})
	}
	return all, nil
}

// parseKey reads a key in PKCS#8 that must belong to the certificate.
func parseKey(der []byte, leaf *x509.Certificate) (crypto.Signer, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(crypto.Signer)
	if !ok || !belongs(key, leaf) {
		return nil, errors.New("it does not belong to its certificate")
	}
	return key, nil
}

// sealedElsewhere reports whether the key was sealed by another TPM.
func sealedElsewhere(err error) bool {
	fault := (*hal.TPMFault)(nil)
	return errors.As(err, &fault) && fault.State == hal.TPMReplaced
}

// makeLAN makes server certificates for these names, under the stored CA if it can be
// used, else under a new one.
func makeLAN(ctx context.Context, sealer keyring.Sealer, stored lan, names []string) (lan, error) {
	caKey, err := reusableCA(ctx, sealer, stored, names)
	if err != nil {
		return lan{}, err
	}
	keys, newCA, err := generateKeys(caKey == nil)
	if err != nil {
		return lan{}, fmt.Errorf("making the LAN keys: %w", err)
	}
	made := lan{ca: stored.ca}
	made.record.CA, made.record.CAKey = stored.record.CA, stored.record.CAKey
	if newCA != nil {
		caKey = newCA
		if made.ca, err = signAuthority(newCA, names); err != nil {
			return lan{}, err
		}
		made.record.CA = made.ca.Raw
		if made.record.CAKey, err = sealKeys(ctx, sealer, secretLANCA, newCA); err != nil {
			return lan{}, err
		}
	}
	for _, key := range keys {
		leaf, err := signServer(made.ca, caKey, key.Public(), names)
		if err != nil {
			return lan{}, err
		}
		made.leaves, made.record.Leaves = append(made.leaves, leaf), append(made.record.Leaves, leaf.Raw)
	}
	made.record.Keys, err = sealKeys(ctx, sealer, sectionLAN, keys...)
	return made, err
}

// reusableCA returns the key of the stored CA; nil if a new CA is needed.
func reusableCA(ctx context.Context, sealer keyring.Sealer, stored lan, names []string) (crypto.Signer, error) {
	if stored.ca == nil || !permits(stored.ca, names) {
		return nil, nil
	}
	encoded, err := sealer.Open(ctx, secretLANCA, stored.record.CAKey)
	if sealedElsewhere(err) || errors.Is(err, keyring.ErrDamaged) {
		return nil, nil
	}
	if err != nil {
		return nil, hal.Tried("opening the key of the LAN's CA", err)
	}
	defer clear(encoded)
	var keys [][]byte
	if json.Unmarshal(encoded, &keys) != nil || len(keys) != 1 {
		return nil, nil
	}
	defer clear(keys[0])
	key, err := parseKey(keys[0], stored.ca)
	if err != nil {
		return nil, nil
	}
	return key, nil
}

// generateKeys generates an ECDSA and an RSA key for servers, and an RSA key for a new
// CA. The two RSA keys, which take seconds on a Raspberry Pi, are generated at once.
func generateKeys(forCA bool) (keys []crypto.Signer, ca crypto.Signer, err error) {
	var caKey *rsa.PrivateKey
	var caErr error
	var generating sync.WaitGroup
	if forCA {
		generating.Go(func() { caKey, caErr = rsa.GenerateKey(rand.Reader, rsaBits) })
	}
	modern, modernErr := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	old, oldErr := rsa.GenerateKey(rand.Reader, rsaBits)
	generating.Wait()
	if err := errors.Join(caErr, modernErr, oldErr); err != nil {
		return nil, nil, err
	}
	if forCA {
		ca = caKey
	}
	return []crypto.Signer{modern, old}, ca, nil
}

// sealKeys seals keys as one secret.
func sealKeys(ctx context.Context, sealer keyring.Sealer, name string, keys ...crypto.Signer) (keyring.Secret, error) {
	var all [][]byte
	for _, key := range keys {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return keyring.Secret{}, fmt.Errorf("encoding a LAN key: %w", err)
		}
		defer clear(der)
		all = append(all, der)
	}
	encoded, err := json.Marshal(all)
	if err != nil {
		return keyring.Secret{}, fmt.Errorf("encoding the LAN keys: %w", err)
	}
	defer clear(encoded)
	sealed, err := sealer.Seal(ctx, name, encoded)
	if err != nil {
		return keyring.Secret{}, hal.Tried("sealing the LAN keys", err)
	}
	return sealed, nil
}
