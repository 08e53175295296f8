package certificate

import (
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"sealpost/hal/printable"
)

// examineChain reports whether the chain leads to one of the roots, and what is
// missing if not.
func (r *Report) examineChain(chain []*x509.Certificate, now time.Time, roots *x509.CertPool) {
	for i, cert := range chain[1:] {
		if !issued(cert, chain[i]) {
			r.add(Problem, "certificate %d of the chain did not issue the one before it: import the certificate again with its chain", i+2)
			return
		}
	}
	top := chain[len(chain)-1]
	err := verify(chain, now, roots)
	switch _, unknown := errors.AsType[x509.UnknownAuthorityError](err); {
	case err == nil:
		r.Trusted = true
		r.add(OK, "the chain is complete (%s) and leads to a trusted root", count(len(chain)))
	case isSelfSigned(chain[0]):
		r.add(Problem, "the certificate is self-signed, and Exchange Online accepts only certificates of public certification authorities: get one from such an authority")
	case isSelfSigned(top):
		r.add(Problem, "the chain leads to %q, which is not a public root: Exchange Online accepts only certificates of public certification authorities: get one from such an authority", printable.Line(top.Subject.String()))
	case unknown:
		r.missingIssuer(top)
	default:
		r.add(Problem, "the chain does not verify (%s): get the certificate again with its whole chain", printable.Line(err.Error()))
	}
}

// count returns a number of certificates.
func count(n int) string {
	if n == 1 {
		return "1 certificate"
	}
	return fmt.Sprintf("%d certificates", n)
}

func (r *Report) missingIssuer(top *x509.Certificate) {
	r.MissingIssuer = printable.Line(top.Issuer.String())
	source := "ask the certification authority for it"
	for _, url := range top.IssuingCertificateURL {
		r.IssuerURLs = append(r.IssuerURLs, printable.Line(url))
	}
	if len(r.IssuerURLs) > 0 {
		source = "download it from " + r.IssuerURLs[0]
	}
	r.add(Problem, "the chain ends before %q, which is not a public root: if that is an intermediate, add it and import again (%s); if it is a private root, get a certificate from a public authority", r.MissingIssuer, source)
}

// verify builds a path from the leaf to a root using only the chain. It uses a
// time at which the leaf is valid, because expiry is reported separately.
func verify(chain []*x509.Certificate, now time.Time, roots *x509.CertPool) error {
	if now.After(chain[0].NotAfter) {
		now = chain[0].NotAfter
	}
	if now.Before(chain[0].NotBefore) {
		now = chain[0].NotBefore
	}
	if roots == nil {
		// For Verify nil would mean the system's roots.
		roots = x509.NewCertPool()
	}
	intermediates := x509.NewCertPool()
	for _, cert := range chain[1:] {
		intermediates.AddCert(cert)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots:         roots,
		Intermediates: intermediates,
		CurrentTime:   now,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	return err
}
