package diagnose

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/netip"
	"strings"
	"testing"

	"sealpost/relay/upstream/dns"
	"sealpost/relay/upstream/reach"
	"sealpost/tests/rigs/parts"
	"sealpost/tests/rigs/tenant"
)

func TestMailHost_IsTheMostPreferredMX(t *testing.T) {
	for _, c := range []struct {
		records []*net.MX
		want    string
	}{
		{nil, ""},
		{[]*net.MX{{Host: "."}}, ""},
		{[]*net.MX{{Host: "Contoso-com.mail.protection.outlook.com.", Pref: 0}, {Host: "filter.example.", Pref: 10}}, "contoso-com.mail.protection.outlook.com"},
	} {
		if got := mailHost(c.records); got != c.want {
			t.Errorf("of %v it is %q, want %q", c.records, got, c.want)
		}
	}
}

func TestProbe_ReportsHowFarEachWayLeads(t *testing.T) {
	authority := must(parts.NewAuthority("Test CA"))
	good, other := must(authority.IssueP256(nil, "localhost")), must(authority.IssueP256(nil, "mail.example"))
	good.Certificate = append(good.Certificate, authority.Certificate.Raw)
	at := func(config tenant.Config) int {
		server := must(tenant.Start(config))
		t.Cleanup(server.Close)
		return server.Address().Port
	}
	connector := func(shown tls.Certificate) tenant.Config {
		return tenant.Config{Certificate: shown, ClientCAs: authority.Pool(), AcceptedDomains: []string{"contoso.com"}, Connector: "relay.contoso.com"}
	}
	inClear := connector(good)
	inClear.NoSTARTTLS = true
	known, nobody := authority.Pool(), x509.NewCertPool()
	for name, c := range map[string]struct {
		port         int
		roots        *x509.CertPool
		port25, tls  bool
		text, advice string
	}{
		"a good host":             {at(connector(good)), known, true, true, "its certificate is valid", "connector: "},
		"an unknown authority":    {at(connector(good)), nobody, true, false, "unknown authority", "connector, if this is your own host"},
		"another's certificate":   {at(connector(other)), known, true, false, "not localhost", "a device in between"},
		"a host without STARTTLS": {at(inClear), known, true, false, "the server does not offer STARTTLS", "a device in between"},
		"nobody":                  {1, known, false, false, "not tried", "neither port 25 nor port 587"},
	} {
		t.Run(name, func(t *testing.T) {
			// No name server is there, so nobody is asked about port 587.
			resolver := dns.Resolver([]netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1")})
			ways, err := Probe(t.Context(), "", reach.Host{Name: "localhost", Port: c.port, Roots: c.roots, Resolver: resolver})
			if err != nil {
				t.Fatal(err)
			}
			if ways.Port25.OK != c.port25 || ways.STARTTLS.OK != c.tls || ways.Port587.OK {
				t.Errorf("the ways are %+v", ways)
			}
			if !strings.Contains(ways.STARTTLS.Text, c.text) || !strings.Contains(ways.Advice, c.advice) {
				t.Errorf("it says %q and advises %q", ways.STARTTLS.Text, ways.Advice)
			}
			if unknown := ways.Authority == "CN=Test CA" && strings.Contains(ways.AuthorityPEM, "BEGIN CERTIFICATE"); unknown != (name == "an unknown authority") {
				t.Errorf("of the authority it says %q, %q", ways.Authority, ways.AuthorityPEM)
			}
		})
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}
