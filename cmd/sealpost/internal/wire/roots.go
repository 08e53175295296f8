package wire

import (
	"crypto/x509"
	"fmt"
	"sync"

	"sealpost/provisioning/certificate"
	"sealpost/provisioning/settings"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// useOwnRoots makes crypto/x509 use the program's built-in roots if the
// machine has none. Parsing them is slow on a small board, so it is done only
// when a certificate is verified.
var useOwnRoots = sync.OnceFunc(func() {
	pool := x509.NewCertPool()
	for root := range bundle.Roots() {
		certificate, err := x509.ParseCertificate(root.Certificate)
		if err != nil {
			panic(fmt.Sprintf("a built-in root certificate: %v", err))
		}
		if root.Constraint == nil {
			pool.AddCert(certificate)
		} else {
			pool.AddCertWithConstraint(certificate, root.Constraint)
		}
	}
	x509.SetFallbackRoots(pool)
})

// publicRoots returns the public authorities, which we assume Exchange Online
// trusts.
func publicRoots() *x509.CertPool {
	useOwnRoots()
	roots, err := x509.SystemCertPool()
	if err != nil {
		return x509.NewCertPool()
	}
	return roots
}

// AllRoots returns the public authorities and those in the text of the settings.
func AllRoots(s settings.Settings) *x509.CertPool {
	pool := publicRoots()
	for _, named := range []settings.Roots{s.Upstream.Connector.Roots, s.Upstream.Submission.Roots, s.Upstream.OAuth.Roots, s.Upstream.Direct.Roots} {
		pool.AppendCertsFromPEM([]byte(named.CA))
	}
	return pool
}

// CAPool returns the roots in a section of the settings; nil means the public ones.
func CAPool(section string, configured settings.Roots) (*x509.CertPool, error) {
	text, source := []byte(configured.CA), section+".ca"
	if configured.CAFile != "" {
		const limit = 1 << 20
		var err error
		if text, err = ReadFile(configured.CAFile, limit); err != nil {
			return nil, fmt.Errorf("%s.ca_file: %w", section, err)
		}
		source = configured.CAFile
	}
	if len(text) == 0 {
		useOwnRoots()
		return nil, nil
	}
	pool := x509.NewCertPool()
	if _, err := certificate.ParsePEM(text); err != nil {
		return nil, fmt.Errorf("%s: %w", source, err)
	}
	pool.AppendCertsFromPEM(certificate.UTF8(text))
	return pool, nil
}
