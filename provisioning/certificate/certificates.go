package certificate

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"

	"sealpost/hal/printable"
)

// Certificates are those of one file. What cannot be parsed is kept apart: files
// often contain certificates that are never sent, and a fault matters only in
// those that the chain needs.
type Certificates struct {
	Parsed     []*x509.Certificate
	unreadable []unreadable
}

// unreadable is a certificate that crypto/x509 rejects.
type unreadable struct {
	cause   error
	subject []byte           // in DER; nil if not even that can be read
	key     crypto.PublicKey // nil if it cannot be read
}

func (c *Certificates) add(der []byte) {
	cert, err := x509.ParseCertificate(der)
	if err == nil {
		c.Parsed = append(c.Parsed, cert)
		return
	}
	odd := unreadable{cause: err}
	// The fields of TBSCertificate (RFC 5280, 4.1) up to the key, unchecked.
	var outline struct {
		TBS struct {
			Version                                asn1.RawValue `asn1:"optional,explicit,tag:0"`
			Serial, Algorithm                      asn1.RawValue
			Issuer, Validity, Subject, SubjectInfo asn1.RawValue
		}
	}
	if _, err := asn1.Unmarshal(der, &outline); err == nil {
		odd.subject = outline.TBS.Subject.FullBytes
		odd.key, _ = x509.ParsePKIXPublicKey(outline.TBS.SubjectInfo.FullBytes)
	}
	c.unreadable = append(c.unreadable, odd)
}

const reissue = "ask the certification authority to issue it again without this fault"

// Order finds the certificate that belongs to key and the chain above it. A
// self-signed root is not part of the chain, because servers have their own.
func (c Certificates) Order(key crypto.PublicKey) (Path, error) {
	leaf, err := leafFor(c.Parsed, key)
	if errors.Is(err, errForeignKey) {
		for _, odd := range c.unreadable {
			if odd.key == nil || equalKeys(odd.key, key) {
				return Path{}, fmt.Errorf("the certificate for the private key cannot be read (%s): %s", printable.Line(odd.cause.Error()), reissue)
			}
		}
	}
	if err != nil {
		return Path{}, err
	}
	p := Path{unreadable: c.unreadable}
	placed := map[*x509.Certificate]bool{}
	for at := leaf; at != nil; at = issuerOf(at, c.Parsed, placed) {
		placed[at] = true
		if at != leaf && isSelfSigned(at) {
			p.Root = at
			break
		}
		p.Chain = append(p.Chain, at)
	}
	for _, cert := range c.Parsed {
		if !placed[cert] {
			p.Extra = append(p.Extra, cert)
		}
	}
	return p, nil
}

func equalKeys(a, b crypto.PublicKey) bool {
	comparable, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && comparable.Equal(b)
}

// unreadableIssuer returns why the issuer of cert cannot be read, if it is among
// the certificates of the file; otherwise nil.
func (p Path) unreadableIssuer(cert *x509.Certificate) error {
	for _, odd := range p.unreadable {
		if odd.subject == nil || bytes.Equal(odd.subject, cert.RawIssuer) {
			return odd.cause
		}
	}
	return nil
}
