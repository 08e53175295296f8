package certificate

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// ParsePEM reads the certificates of a PEM text of at most [MaxInput] bytes, in
// the order in which they came; other blocks are passed over. See [Order].
func ParsePEM(data []byte) ([]*x509.Certificate, error) {
	if len(data) > MaxInput {
		return nil, fmt.Errorf("the file is larger than %d KiB, so it is not a certificate chain: choose another file", MaxInput>>10)
	}
	var chain []*x509.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d in the file cannot be read: get it again from the certification authority (%s)", len(chain)+1, printable(err.Error()))
		}
		chain = append(chain, cert)
	}
	if len(chain) == 0 {
		return nil, errors.New("the file holds no PEM certificate: ask the certification authority for Base-64 (PEM) with the whole chain")
	}
	return chain, nil
}

// EncodePEM writes certificates in the form that ParsePEM reads.
func EncodePEM(chain []*x509.Certificate) []byte {
	var text bytes.Buffer
	for _, cert := range chain {
		// A bytes.Buffer takes everything.
		_ = pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
	}
	return text.Bytes()
}

// Order finds the certificate that belongs to key and the chain above it, leaf
// first. A self-signed root at its end is left out, because the other side has
// its own; extra is what belongs elsewhere.
func Order(certs []*x509.Certificate, key crypto.PublicKey) (chain, extra []*x509.Certificate, err error) {
	leaf, err := leafFor(certs, key)
	if err != nil {
		return nil, nil, err
	}
	placed := map[*x509.Certificate]bool{}
	for at := leaf; at != nil; at = issuerOf(at, certs, placed) {
		placed[at] = true
		if at == leaf || !isSelfSigned(at) {
			chain = append(chain, at)
		}
	}
	for _, cert := range certs {
		if !placed[cert] {
			extra = append(extra, cert)
		}
	}
	return chain, extra, nil
}

// leafFor finds the certificate of key; of several, such as a renewal beside
// the old one, that which is valid longest.
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
		return nil, errors.New("no certificate in the file belongs to the private key: export certificate and key together, or answer the box's own request")
	}
	return leaf, nil
}

// issuerOf finds the issuer of cert among certs, or nil.
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

// issued goes by names and key identifiers (RFC 5280, 4.2.1.1), and leaves
// signatures to Examine.
func issued(issuer, cert *x509.Certificate) bool {
	return bytes.Equal(issuer.RawSubject, cert.RawIssuer) &&
		(len(cert.AuthorityKeyId) == 0 || len(issuer.SubjectKeyId) == 0 || bytes.Equal(cert.AuthorityKeyId, issuer.SubjectKeyId))
}

func isSelfSigned(cert *x509.Certificate) bool { return issued(cert, cert) }
