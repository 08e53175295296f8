package lan

import "crypto/tls"

// TLS is how the box speaks TLS with devices, showing its own certificate. It
// takes what old devices can do: without TLS they would send in clear text,
// which is worse.
//
// own gives the certificate, and may take its time over it: a device that wants
// TLS waits, the others do not.
func TLS(own func() (*tls.Certificate, error)) *tls.Config {
	return &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return own() },
		MinVersion:     tls.VersionTLS10,
		CipherSuites:   cipherSuites(),
	}
}

// cipherSuites are those that Go prefers and, behind them, the ones without
// forward secrecy that old devices are limited to; never RC4 or 3DES.
func cipherSuites() []uint16 {
	var ids []uint16
	for _, suite := range tls.CipherSuites() {
		ids = append(ids, suite.ID)
	}
	return append(ids,
		tls.TLS_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_RSA_WITH_AES_128_CBC_SHA256, tls.TLS_RSA_WITH_AES_128_CBC_SHA, tls.TLS_RSA_WITH_AES_256_CBC_SHA)
}
