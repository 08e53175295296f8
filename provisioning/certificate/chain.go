package certificate

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	"sealpost/hal/printable"
)

// ParsePEM returns the certificates of a PEM text of at most [MaxInput] bytes, in
// their order in the text, and ignores other blocks.
func ParsePEM(data []byte) (Certificates, error) {
	if len(data) > MaxInput {
		return Certificates{}, fmt.Errorf("the file is larger than %d KiB, so it is not a certificate chain: use a file with only the certificate for the box and its chain", MaxInput>>10)
	}
	data = UTF8(data)
	var found Certificates
	pkcs7 := false
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		switch block.Type {
		case "CERTIFICATE":
			found.add(block.Bytes)
		case "PKCS7":
			pkcs7 = true
		}
	}
	switch {
	case len(found.Parsed) > 0:
		return found, nil
	case len(found.unreadable) > 0:
		return found, fmt.Errorf("certificate 1 in the file cannot be read: get it again from the certification authority (%s)", printable.Line(found.unreadable[0].cause.Error()))
	}
	if pkcs7 {
		return found, errors.New("the file contains PKCS #7 (.p7b) and no PEM certificate: convert it with OpenSSL: openssl pkcs7 -print_certs -in OLD.p7b -out NEW.pem")
	}
	return found, errors.New("the file contains no PEM certificate: ask the certification authority for Base-64 (PEM) with the whole chain, or convert it with OpenSSL: openssl x509 -inform DER for a certificate, openssl pkcs7 -inform DER -print_certs for a .p7b")
}

// Path is a certificate with its chain.
type Path struct {
	Chain []*x509.Certificate // what is sent: leaf first, without a self-signed root
	Root  *x509.Certificate   // the self-signed root above the chain; nil if it was not given
	Extra []*x509.Certificate // certificates that are not part of the chain

	unreadable []unreadable
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
	if err == nil {
		return nil
	}
	if _, unknown := errors.AsType[x509.UnknownAuthorityError](err); !unknown {
		return fmt.Errorf("the chain does not verify (%s): ask the certification authority for the certificate with its present chain", printable.Line(err.Error()))
	}
	child, err := p.gap()
	issuer := printable.Line(child.Issuer.String())
	if cause := p.unreadableIssuer(child); cause != nil {
		return fmt.Errorf("the chain needs the certificate of %q, which is in the file but cannot be read (%s): %s", issuer, printable.Line(cause.Error()), reissue)
	}
	if insecure, ok := errors.AsType[x509.InsecureAlgorithmError](err); ok {
		return fmt.Errorf("the certificate that %q issued has an insecure signature, %v: ask the certification authority to issue it again with SHA-256", issuer, x509.SignatureAlgorithm(insecure))
	}
	if _, ok := errors.AsType[x509.ConstraintViolationError](err); ok {
		return fmt.Errorf("the certificate of %q is not one of an authority, so what it issued is not trusted: get a certificate from a certification authority", issuer)
	}
	return fmt.Errorf("the chain is incomplete: the certificate of %q is missing or does not match: export again with all certificates in the certification path, including the root of a private authority", issuer)
}

// gap returns the first certificate whose issuer is missing or does not match, and
// in the second case the reason.
func (p Path) gap() (*x509.Certificate, error) {
	above := p.Chain[1:]
	if p.Root != nil {
		above = append(slices.Clone(above), p.Root)
	}
	for i, cert := range above {
		if err := p.Chain[i].CheckSignatureFrom(cert); err != nil {
			return p.Chain[i], err
		}
	}
	return p.Chain[len(p.Chain)-1], nil
}

var errForeignKey = errors.New("no certificate in the file belongs to the private key: export certificate and key together, or import the certificate that was issued for the box's own request")

// leafFor returns the certificate of key; if there are several, such as an old
// and a renewed one, the one that is valid longest.
func leafFor(certs []*x509.Certificate, key crypto.PublicKey) (*x509.Certificate, error) {
	if _, ok := key.(interface{ Equal(crypto.PublicKey) bool }); !ok {
		return nil, errors.New("the key is of a type the box cannot use: " + keyTypeAdvice)
	}
	var leaf *x509.Certificate
	for _, cert := range certs {
		if equalKeys(key, cert.PublicKey) && (leaf == nil || cert.NotAfter.After(leaf.NotAfter)) {
			leaf = cert
		}
	}
	if leaf == nil {
		return nil, errForeignKey
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
