package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"sealpost/hal"
	"sealpost/hal/printable"
	"sealpost/provisioning/certificate"
	"sealpost/provisioning/keyring"
	"sealpost/provisioning/state"
)

// sectionSite is the section with the site's own certificate for the LAN.
const sectionSite = "lan site"

// ErrNoSite is returned if the site has uploaded no certificate for the LAN.
var ErrNoSite = errors.New("the site has no certificate for the LAN in the box: devices get those of the box's own CA already")

// siteRecord is the stored form of the site's own certificate for the LAN.
type siteRecord struct {
	Chain [][]byte       `json:"chain"` // DER, leaf first
	Key   keyring.Secret `json:"key"`   // PKCS#8, as JSON
}

// Site is the site's own server certificate for the LAN.
type Site struct{ record siteRecord }

// CheckServer returns an error for a certificate that devices could not use.
func CheckServer(path certificate.Path, now time.Time) error {
	leaf := path.Chain[0]
	usages := leaf.ExtKeyUsage
	if len(usages)+len(leaf.UnknownExtKeyUsage) > 0 && !slices.Contains(usages, x509.ExtKeyUsageServerAuth) && !slices.Contains(usages, x509.ExtKeyUsageAny) {
		return errors.New("the certificate for the LAN is not for server authentication: ask the authority for a server certificate")
	}
	if now.After(leaf.NotAfter) {
		return fmt.Errorf("the certificate for the LAN expired on %s: upload a newer one, or correct the clock if it is wrong (it says %s)", leaf.NotAfter.Format(time.DateOnly), now.Format(time.DateOnly))
	}
	if len(leaf.DNSNames)+len(leaf.IPAddresses) == 0 {
		return errors.New("the certificate for the LAN has no subject alternative name, which devices compare with the server's: ask the authority for one with the box's name")
	}
	switch leaf.PublicKey.(type) {
	case *rsa.PublicKey, *ecdsa.PublicKey:
		return nil
	}
	return errors.New("the certificate for the LAN has a key that devices do not support: ask the authority for one with RSA-2048 or P-256")
}

// ProtectSite seals the key of a PFX for the LAN. It wipes the key in memory in any
// case, and stores nothing.
func ProtectSite(ctx context.Context, sealer keyring.Sealer, bundle certificate.Bundle) (Site, error) {
	defer certificate.WipeKey(bundle.Key)
	sealed, err := sealKeys(ctx, sealer, sectionSite, bundle.Key)
	if err != nil {
		return Site{}, err
	}
	return Site{siteRecord{Client{Chain: bundle.Chain}.DER(), sealed}}, nil
}

// Put writes the certificate into the sections.
func (s Site) Put(sections state.Sections) error { return put(sections, sectionSite, s.record) }

// RemoveSite removes the site's certificate from the sections, or returns ErrNoSite.
func RemoveSite(sections state.Sections) error {
	if _, found := sections[sectionSite]; !found {
		return ErrNoSite
	}
	delete(sections, sectionSite)
	return nil
}

// readSite returns the chain of the site's certificate, or ErrNoSite.
func readSite(sections state.Sections) (siteRecord, []*x509.Certificate, error) {
	stored, found := sections[sectionSite]
	if !found {
		return siteRecord{}, nil, ErrNoSite
	}
	var r siteRecord
	if err := json.Unmarshal(stored, &r); err != nil {
		return r, nil, fmt.Errorf("reading the site's certificate for the LAN: %w", err)
	}
	var chain []*x509.Certificate
	for _, der := range r.Chain {
		parsed, err := x509.ParseCertificate(der)
		if err != nil {
			return r, nil, fmt.Errorf("reading the site's certificate for the LAN: %w", err)
		}
		chain = append(chain, parsed)
	}
	if len(chain) == 0 {
		return r, nil, errors.New("the site's certificate for the LAN is empty: upload it again")
	}
	return r, chain, nil
}

// openSite returns the site's certificate with its key, or ErrNoSite.
func openSite(ctx context.Context, sections state.Sections, sealer keyring.Sealer) (tls.Certificate, error) {
	r, chain, err := readSite(sections)
	if err != nil {
		return tls.Certificate{}, err
	}
	encoded, err := sealer.Open(ctx, sectionSite, r.Key)
	if err != nil {
		return tls.Certificate{}, hal.Tried("opening the key of the site's certificate for the LAN", err)
	}
	defer clear(encoded)
	var keys [][]byte
	if err := json.Unmarshal(encoded, &keys); err != nil || len(keys) != 1 {
		return tls.Certificate{}, errors.New("the key of the site's certificate for the LAN is damaged: upload it again")
	}
	defer clear(keys[0])
	key, err := parseKey(keys[0], chain[0])
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("reading the key of the site's certificate for the LAN: %w: upload it again", err)
	}
	return tls.Certificate{Certificate: r.Chain, PrivateKey: key, Leaf: chain[0]}, nil
}

// DescribeLAN says which certificates devices on the LAN get, one line each; none if
// none were needed yet. It does not use the TPM.
func DescribeLAN(ctx context.Context, store Store) ([]string, error) {
	sections, err := store.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the settings area: %w", err)
	}
	var lines []string
	if _, chain, err := readSite(sections); err == nil {
		leaf := chain[0]
		lines = append(lines, fmt.Sprintf("the site's own for %s, issued by %s, valid to %s", printable.Line(nameList(leaf)), printable.Line(leaf.Issuer.String()), leaf.NotAfter.Format(time.DateOnly)))
	}
	if own, _ := readLAN(sections, nil); own.ca != nil {
		lines = append(lines, fmt.Sprintf("the box's own CA, %s, SHA-256 %X", own.ca.Subject, sha256.Sum256(own.ca.Raw)))
		if len(lines) == 1 && len(own.leaves) > 0 {
			lines = append(lines, fmt.Sprintf("under it P-256 and RSA-2048 for %s", nameList(own.leaves[0])))
		}
	}
	return lines, nil
}

// nameList returns the names of a certificate.
func nameList(leaf *x509.Certificate) string {
	names := slices.Clone(leaf.DNSNames)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	return strings.Join(names, ", ")
}
