package lan

import "crypto/tls"

// TLS returns the TLS configuration for devices, with the box's own
// certificate. It allows what old devices support: without TLS they would send
// in clear text, which is worse.
//
// own returns the certificate and may block; only devices that use TLS wait for
// it.
func TLS(certificate func() (*tls.Certificate, error)) *tls.Config {
	return &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate() },
		MinVersion:     tls.VersionTLS10,
		CipherSuites:   cipherSuites(),
	}
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
