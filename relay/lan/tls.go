package lan

import (
	"crypto/tls"
	"errors"
)

// TLS returns the TLS configuration for devices, with the box's own
// certificates. It allows what old devices support: without TLS they would send
// in clear text, which is worse.
//
// certificates returns them, the preferred one first, and may block; only devices that
// use TLS wait for it.
func TLS(certificates func() ([]tls.Certificate, error)) *tls.Config {
	return &tls.Config{
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			all, err := certificates()
			if err != nil {
				return nil, err
			}
			return choose(all, *hello)
		},
		MinVersion:   tls.VersionTLS10,
		CipherSuites: cipherSuites(),
	}
}

// choose returns the first certificate whose key the client supports, else the last,
// whatever the name (SNI) that the client knows the box by.
func choose(all []tls.Certificate, hello tls.ClientHelloInfo) (*tls.Certificate, error) {
	if len(all) == 0 {
		return nil, errors.New("there is no certificate for the LAN")
	}
	hello.ServerName = ""
	for i := range all {
		if hello.SupportsCertificate(&all[i]) == nil {
			return &all[i], nil
		}
	}
	return &all[len(all)-1], nil
}

// cipherSuites returns Go's preferred suites and, after them, suites without
// forward secrecy for old devices; never RC4 or 3DES.
func cipherSuites() []uint16 {
	var ids []uint16
	for _, suite := range tls.CipherSuites() {
		ids = append(ids, suite.ID)
	}
	return append(ids,
		tls.TLS_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_RSA_WITH_AES_128_CBC_SHA256, tls.TLS_RSA_WITH_AES_128_CBC_SHA, tls.TLS_RSA_WITH_AES_256_CBC_SHA)
}
