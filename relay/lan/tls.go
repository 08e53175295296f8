package lan

import "crypto/tls"

// TLS is how the box speaks TLS with devices, showing its own certificate. It
// takes what old devices can do: without TLS they would send in clear text,
// which is worse.
func TLS(own tls.Certificate) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{own},
		MinVersion:   tls.VersionTLS10,
		CipherSuites: cipherSuites(),
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
