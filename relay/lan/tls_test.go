package lan

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
)

// bothCertificates returns what a box has: an ECDSA and an RSA certificate.
var bothCertificates = sync.OnceValue(func() []tls.Certificate {
	modern, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	const bits = 2048
	old, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		panic(err)
	}
	return []tls.Certificate{selfSigned(modern), selfSigned(old)}
})

func certificatesOfTest() ([]tls.Certificate, error) { return bothCertificates(), nil }

// handshake returns the state of a client's connection, and the server's error.
func handshake(t *testing.T, server, client *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	ours, theirs := net.Pipe()
	defer ours.Close()
	failed := make(chan error, 1)
	go func() {
		conn := tls.Server(theirs, server)
		failed <- conn.Handshake()
		_ = theirs.Close()
	}()
	client.InsecureSkipVerify = true
	conn := tls.Client(ours, client)
	clientErr := conn.Handshake()
	_ = ours.Close()
	if err := <-failed; err != nil || clientErr != nil {
		return tls.ConnectionState{}, errors.Join(err, clientErr)
	}
	return conn.ConnectionState(), nil
}

// The suites that the profiles allow.
var (
	forwardSecret = []string{
		"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
		"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
	}
	forwardSecretCBC = []string{
		"TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA", "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
		"TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
	}
	oldCBC = []string{
		"TLS_RSA_WITH_AES_128_CBC_SHA", "TLS_RSA_WITH_AES_256_CBC_SHA", "TLS_RSA_WITH_3DES_EDE_CBC_SHA", "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
	}
	oldTLS12 = []string{
		"TLS_RSA_WITH_AES_128_GCM_SHA256", "TLS_RSA_WITH_AES_256_GCM_SHA384", "TLS_RSA_WITH_AES_128_CBC_SHA256", "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
	}
)

// TestTLS_AllowsExactlyTheseSuites tries each version with each suite that Go has.
func TestTLS_AllowsExactlyTheseSuites(t *testing.T) {
	type byVersion map[uint16][]string
	for name, c := range map[string]struct {
		config *tls.Config
		want   byVersion
	}{
		"default": {TLS(certificatesOfTest), byVersion{
			tls.VersionTLS12: slices.Concat(forwardSecret, forwardSecretCBC),
		}},
		"legacy": {LegacyTLS(certificatesOfTest), byVersion{
			tls.VersionTLS10: slices.Concat(forwardSecretCBC, oldCBC),
			tls.VersionTLS11: slices.Concat(forwardSecretCBC, oldCBC),
			tls.VersionTLS12: slices.Concat(forwardSecret, forwardSecretCBC, oldCBC, oldTLS12),
		}},
	} {
		for _, version := range []uint16{tls.VersionTLS10, tls.VersionTLS11, tls.VersionTLS12} {
			var got []string
			for _, suite := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
				client := &tls.Config{MinVersion: version, MaxVersion: version, CipherSuites: []uint16{suite.ID}}
				state, err := handshake(t, c.config, client)
				if err != nil {
					continue
				}
				got = append(got, tls.CipherSuiteName(state.CipherSuite))
				onlyLegacy := version < tls.VersionTLS12 || slices.Contains(slices.Concat(oldCBC, oldTLS12), suite.Name)
				if isLegacy(state) != onlyLegacy {
					t.Errorf("%s with %s: got legacy TLS %t, want %t", tls.VersionName(version), suite.Name, !onlyLegacy, onlyLegacy)
				}
			}
			slices.Sort(got)
			if want := slices.Sorted(slices.Values(c.want[version])); !slices.Equal(got, want) {
				t.Errorf("%s, %s: got\n%s\nwant\n%s", name, tls.VersionName(version), strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
		if state, err := handshake(t, c.config, &tls.Config{MinVersion: tls.VersionTLS13}); err != nil || state.Version != tls.VersionTLS13 || isLegacy(state) {
			t.Errorf("%s, TLS 1.3: got %s, %v", name, tls.VersionName(state.Version), err)
		}
	}
}

// TestTLS_SaysWhatToDoForOldDevices has clients like those in docs/devices.md.
func TestTLS_SaysWhatToDoForOldDevices(t *testing.T) {
	const allowLegacy, noneSupported = `allow that with tls = "legacy" for this device`, `not even allowed with tls = "legacy"`
	only := func(version uint16, suites ...uint16) *tls.Config {
		return &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: version, CipherSuites: suites}
	}
	for name, c := range map[string]struct {
		client       *tls.Config
		want, legacy string // the version, or a part of the advice
	}{
		"modern":                {&tls.Config{}, "TLS 1.3", "TLS 1.3"},
		"TLS 1.2, ECDHE":        {only(tls.VersionTLS12), "TLS 1.2", "TLS 1.2"},
		"TLS 1.2, RSA only":     {only(tls.VersionTLS12, tls.TLS_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_RSA_WITH_AES_128_CBC_SHA), allowLegacy, "TLS 1.2"},
		"TLS 1.1":               {only(tls.VersionTLS11, tls.TLS_RSA_WITH_AES_256_CBC_SHA), allowLegacy, "TLS 1.1"},
		"TLS 1.0":               {only(tls.VersionTLS10, tls.TLS_RSA_WITH_AES_128_CBC_SHA), allowLegacy, "TLS 1.0"},
		"TLS 1.0, 3DES only":    {only(tls.VersionTLS10, tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA), allowLegacy, "TLS 1.0"},
		"RC4 only":              {only(tls.VersionTLS10, tls.TLS_RSA_WITH_RC4_128_SHA), allowLegacy, noneSupported},
		"TLS 1.2, RC4 by ECDHE": {only(tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_RC4_128_SHA), allowLegacy, noneSupported},
	} {
		for _, profile := range []struct {
			config *tls.Config
			legacy bool
			want   string
		}{{TLS(certificatesOfTest), false, c.want}, {LegacyTLS(certificatesOfTest), true, c.legacy}} {
			state, err := handshake(t, profile.config, c.client.Clone())
			got := tls.VersionName(state.Version)
			if err != nil {
				got = withAdvice(err, profile.legacy).Error()
			}
			if !strings.Contains(got, profile.want) {
				t.Errorf("%s: got %q, want %q", name, got, profile.want)
			}
		}
	}
}

func TestSSL2_IsRecognised(t *testing.T) {
	for input, want := range map[string]bool{
		"\x80\x2e\x01\x00\x02": true,  // a ClientHello of SSL 2.0
		"\x80\x67\x01\x03\x01": true,  // one that offers TLS 1.0 too
		"\x16\x03\x01\x00\x50": false, // a hello of TLS
		"EHLO device\r\n":      false,
		"\x80\x2e":             false,
	} {
		if got := isSSL2([]byte(input)); got != want {
			t.Errorf("%q: got %t, want %t", input, got, want)
		}
	}
}
