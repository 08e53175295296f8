package direct

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"errors"

	"sealpost/relay/upstream/dns"
)

// certificateFault is the error of a certificate that is not what the policy demands.
type certificateFault struct {
	host   string
	policy string
	err    error
}

func (c *certificateFault) Error() string { return c.policy + ": " + c.err.Error() }
func (c *certificateFault) Unwrap() error { return c.err }

// acceptAny verifies nothing.
func acceptAny(tls.ConnectionState) error { return nil }

// verifyByRoots verifies a certificate for the host's name.
func verifyByRoots(host string, roots *x509.CertPool) func(tls.ConnectionState) error {
	return func(state tls.ConnectionState) error {
		if err := verifyChain(state.PeerCertificates, host, roots); err != nil {
			return &certificateFault{host, "it is not verified by a public root", err}
		}
		return nil
	}
}

func verifyChain(chain []*x509.Certificate, host string, roots *x509.CertPool) error {
	intermediates := x509.NewCertPool()
	for _, certificate := range chain[1:] {
		intermediates.AddCert(certificate)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{DNSName: host, Roots: roots, Intermediates: intermediates})
	return err
}

// Values of TLSA records (RFC 6698 section 2.1, RFC 7218).
const (
	usageTA, usageEE                  = 2, 3
	selectorCertificate, selectorSPKI = 0, 1
	matchFull, matchSHA256, match512  = 0, 1, 2
)

// usableForSMTP returns the records that RFC 7672 section 3.1 uses: of a trust anchor
// (DANE-TA) or of the host itself (DANE-EE).
func usableForSMTP(records []dns.TLSA) []dns.TLSA {
	var usable []dns.TLSA
	for _, r := range records {
		lengths := map[uint8]int{matchSHA256: sha256.Size, match512: sha512.Size}
		length, hashed := lengths[r.MatchingType]
		if (r.Usage == usageTA || r.Usage == usageEE) && r.Selector <= selectorSPKI && (r.MatchingType == matchFull || hashed && len(r.Data) == length) {
			usable = append(usable, r)
		}
	}
	return usable
}

var errNoMatch = errors.New("no TLSA record matches its certificate")

// verifyDANE verifies a certificate by TLSA records. A record of the host itself needs
// neither name nor date (RFC 7672 section 3.1.1); below a trust anchor, the name counts
// (section 3.2.2).
func verifyDANE(records []dns.TLSA, host string) func(tls.ConnectionState) error {
	return func(state tls.ConnectionState) error {
		chain := state.PeerCertificates
		failure := errNoMatch
		for _, r := range records {
			if r.Usage == usageEE && matches(r, chain[0]) {
				return nil
			}
			for _, anchor := range chain {
				if r.Usage != usageTA || !matches(r, anchor) {
					continue
				}
				roots := x509.NewCertPool()
				roots.AddCert(anchor)
				err := verifyChain(chain, host, roots)
				if err == nil {
					return nil
				}
				failure = err
			}
		}
		return &certificateFault{host, "DANE", failure}
	}
}

// matches reports whether a record names a certificate (RFC 6698 section 2.1).
func matches(r dns.TLSA, certificate *x509.Certificate) bool {
	selected := certificate.Raw
	if r.Selector == selectorSPKI {
		selected = certificate.RawSubjectPublicKeyInfo
	}
	switch r.MatchingType {
	case matchSHA256:
		sum := sha256.Sum256(selected)
		selected = sum[:]
	case match512:
		sum := sha512.Sum512(selected)
		selected = sum[:]
	}
	return bytes.Equal(selected, r.Data)
}
