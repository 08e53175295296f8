package certificate

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"sealpost/hal/printable"
)

// ParsePEM returns the certificates of a PEM text of at most [MaxInput] bytes, in
// their order in the text, and ignores other blocks. See [Order].
func ParsePEM(data []byte) ([]*x509.Certificate, error) {
	if len(data) > MaxInput {
		return nil, fmt.Errorf("the file is larger than %d KiB, so it is not a certificate chain: choose another file", MaxInput>>10)
	}
	data = UTF8(data)
	var chain []*x509.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d in the file cannot be read: get it again from the certification authority (%s)", len(chain)+1, printable.Line(err.Error()))
		}
		chain = append(chain, cert)
	}
	if len(chain) == 0 {
		return nil, errors.New("the file contains no PEM certificate: ask the certification authority for Base-64 (PEM) with the whole chain")
	}
	return chain, nil
}

// Path is a certificate with its chain.
type Path struct {
	Chain []*x509.Certificate // what is sent: leaf first, without a self-signed root
	Root  *x509.Certificate   // the self-signed root above the chain; nil if it was not given
	Extra []*x509.Certificate // certificates that are not part of the chain
}

// Order finds the certificate that belongs to key and the chain above it. A
// self-signed root is not part of the chain, because servers have their own.
func Order(certs []*x509.Certificate, key crypto.PublicKey) (Path, error) {
	leaf, err := leafFor(certs, key)
	if err != nil {
		return Path{}, err
	}
	var p Path
	placed := map[*x509.Certificate]bool{}
	for at := leaf; at != nil; at = issuerOf(at, certs, placed) {
		placed[at] = true
		if at != leaf && isSelfSigned(at) {
			p.Root = at
			break
		}
		p.Chain = append(p.Chain, at)
	}
	for _, cert := range certs {
		if !placed[cert] {
			p.Extra = append(p.Extra, cert)
		}
	}
	return p, nil
}

// Verify checks that the chain leads to one of roots or to p.Root: otherwise
// Exchange Online could not identify the tenant.
func (p Path) Verify(now time.Time, roots *x509.CertPool) error {
	anchors := x509.NewCertPool()
	if roots != nil {
		anchors = roots.Clone()
	}
	if p.Root != nil {
		anchors.AddCert(p.Root)
	}
	if isSelfSigned(p.Chain[0]) {
		anchors.AddCert(p.Chain[0])
	}
	err := verify(p.Chain, now, anchors)
	if _, unknown := errors.AsType[x509.UnknownAuthorityError](err); !unknown {
		return err
	}
	return fmt.Errorf("the chain is incomplete: the certificate of %q is missing or does not match: export again with all certificates in the certification path, including the root of a private authority", printable.Line(p.gap().Issuer.String()))
}

// gap returns the first certificate whose issuer is missing.
func (p Path) gap() *x509.Certificate {
	for i, cert := range p.Chain[1:] {
		if p.Chain[i].CheckSignatureFrom(cert) != nil {
			return p.Chain[i]
		}
	}
	return p.Chain[len(p.Chain)-1]
}

// leafFor returns the certificate of key; if there are several, such as an old
// and a renewed one, the one that is valid longest.
func leafFor(certs []*x509.Certificate, key crypto.PublicKey) (*x509.Certificate, error) {
	comparable, ok := key.(interface{ Equal(crypto.PublicKey) bool })
	if !ok {
		return nil, errors.New("the key is of a type the box cannot use: " + keyTypeAdvice)
	}
	var leaf *x509.Certificate
	for _, cert := range certs {
		if comparable.Equal(cert.PublicKey) && (leaf == nil || cert.NotAfter.After(leaf.NotAfter)) {
			leaf = cert
		}
	}
	if leaf == nil {
		return nil, errors.New("no certificate in the file belongs to the private key: export certificate and key together, or import the certificate that was issued for the box's own request")
	}
	return leaf, nil
}

// issuerOf returns the issuer of cert among certs, or nil.
func issuerOf(cert *x509.Certificate, certs []*x509.Certificate, placed map[*x509.Certificate]bool) *x509.Certificate {
	if isSelfSigned(cert) {
		return nil
	}
	for _, candidate := range certs {
		if !placed[candidate] && issued(candidate, cert) {
			return candidate
		}
	}
	return nil
}

// issued compares names and key identifiers (RFC 5280, 4.2.1.1), not signatures:
// Examine verifies those.
func issued(issuer, cert *x509.Certificate) bool {
	return bytes.Equal(issuer.RawSubject, cert.RawIssuer) &&
		(len(cert.AuthorityKeyId) == 0 || len(issuer.SubjectKeyId) == 0 || bytes.Equal(cert.AuthorityKeyId, issuer.SubjectKeyId))
}

func isSelfSigned(cert *x509.Certificate) bool { return issued(cert, cert) }
