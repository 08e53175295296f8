package lan

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// TLS returns the TLS configuration for devices, with the box's own certificates: TLS 1.2
// and 1.3, with the suites that Go considers secure.
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
		MinVersion: tls.VersionTLS12,
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

// LegacyTLS returns the configuration for devices that support only old TLS: TLS 1.0 and
// 1.1 too, RSA key exchange, and 3DES, which every implementation of TLS 1.1 has (RFC
// 4346 section 9). It never allows RC4, nor SSL 3.0, which Go does not have.
func LegacyTLS(certificates func() ([]tls.Certificate, error)) *tls.Config {
	config := TLS(certificates)
	config.MinVersion = tls.VersionTLS10
	for _, suite := range tls.CipherSuites() {
		config.CipherSuites = append(config.CipherSuites, suite.ID)
	}
	config.CipherSuites = append(config.CipherSuites, legacySuites...)
	return config
}

// legacySuites are those that only LegacyTLS allows, the best first.
var legacySuites = []uint16{
	tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256,
	tls.TLS_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_RSA_WITH_AES_128_CBC_SHA256, tls.TLS_RSA_WITH_AES_128_CBC_SHA, tls.TLS_RSA_WITH_AES_256_CBC_SHA,
	tls.TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA, tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA,
}

// isLegacy reports whether a connection is one that only LegacyTLS allows.
func isLegacy(state tls.ConnectionState) bool {
	return state.Version < tls.VersionTLS12 || slices.Contains(legacySuites, state.CipherSuite)
}

// withAdvice says what to do about a handshake that failed because the device is old, if
// it may use old TLS or may not.
func withAdvice(err error, legacy bool) error {
	switch text := err.Error(); {
	case strings.Contains(text, "unsupported versions: [300]"):
		return fmt.Errorf("the device supports only SSL 3.0, which is not allowed: update it, or turn TLS off on it: %w", err)
	case strings.Contains(text, "unsupported versions"), strings.Contains(text, "no cipher suite supported by both"):
		if legacy {
			return fmt.Errorf("the device supports only TLS that is not even allowed with tls = \"legacy\": update it, or turn TLS off on it: %w", err)
		}
		return fmt.Errorf("the device supports only old TLS: update it, or allow that with tls = \"legacy\" for this device: %w", err)
	case strings.Contains(text, "unknown certificate"), strings.Contains(text, "bad certificate"), strings.Contains(text, "unknown certificate authority"):
		return fmt.Errorf("the device does not trust the box's certificate: install the box's CA certificate on it, or turn off its check: %w", err)
	}
	return err
}

// errSSL2 is the fault of a device that begins with a ClientHello of SSL 2.0, which also
// old software with SSL 3.0 and TLS 1.0 does (RFC 5246 appendix E.2).
var errSSL2 = errors.New("the device begins with a ClientHello of SSL 2.0: turn SSL 2.0 off on it, update it, or turn TLS off on it")

// ssl2Prefix is how many octets of a ClientHello of SSL 2.0 isSSL2 needs.
const ssl2Prefix = 5

// isSSL2 reports whether input begins with such a hello.
func isSSL2(input []byte) bool {
	const clientHello = 1
	return len(input) >= ssl2Prefix && input[0]&0x80 != 0 && input[2] == clientHello && input[3] <= 3
}
