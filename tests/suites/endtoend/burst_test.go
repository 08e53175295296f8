package endtoend

import (
	"crypto/tls"
	"crypto/x509"
	"testing"

	"sealpost/tests/rigs/parts"
)

func TestBurst_Of100MessagesNeedsAtMost3Signatures(t *testing.T) {
	certificate := clientCertificate(t, authority())
	postfix := func(protocols string) func(t *testing.T) (int, func() int) {
		return func(t *testing.T) (int, func() int) {
			server := startPostfix(t, parts.PostfixConfig{Clients: []*x509.Certificate{certificate.Leaf}, TLS: protocols})
			return server.Port, func() int {
				messages, err := server.Messages(100)
				if err != nil {
					t.Error(err)
				}
				return countContaining(messages, verifiedClientCert)
			}
		}
	}
	mockTenant := func(version uint16) func(t *testing.T) (int, func() int) {
		return func(t *testing.T) (int, func() int) {
			config := tenantConfig(t)
			config.MaxTLS = version
			server := startTenant(t, config)
			return server.Address().Port, func() int { return len(server.Messages()) }
		}
	}
	for name, start := range map[string]func(t *testing.T) (port int, arrived func() int){
		"Postfix with TLS 1.2":     postfix(">=TLSv1.2, <=TLSv1.2"),
		"Postfix with TLS 1.3":     postfix(">=TLSv1.3"),
		"mock tenant with TLS 1.2": mockTenant(tls.VersionTLS12),
		"mock tenant with TLS 1.3": mockTenant(tls.VersionTLS13),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			port, arrived := start(t)
			s := relaySite(t, siteConfig{host: "localhost", port: port}, certificate)
			if output, err := s.smtpSource(20, 100); err != nil {
				t.Fatalf("%v: %s\n%s", err, output, s.relay.Log)
			}
			if n := arrived(); n != 100 {
				t.Errorf("got %d messages, want 100", n)
			}
			s.events("delivered", 100)
			if n := len(s.relay.Log.Events("signature")); n < 1 || n > 3 {
				t.Errorf("got %d signatures, want 1 to 3", n)
			}
		})
	}
}
