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
			t.Errorf("%v: got %q, want %q", c.records, got, c.want)
		}
	}
}

func TestProbe_ReportsWhichDeliveryMethodsWork(t *testing.T) {
	authority := must(parts.NewAuthority("Test CA"))
	good, other := must(authority.IssueP256(nil, "localhost")), must(authority.IssueP256(nil, "mail.example"))
	good.Certificate = append(good.Certificate, authority.Certificate.Raw)
	startTenant := func(config tenant.Config) int {
		server := must(tenant.Start(config))
		t.Cleanup(server.Close)
		return server.Address().Port
	}
	connector := func(shown tls.Certificate) tenant.Config {
		return tenant.Config{Certificate: shown, ClientCAs: authority.Pool(), AcceptedDomains: []string{"contoso.com"}, Connector: "relay.contoso.com"}
	}
	inClear := connector(good)
	inClear.NoSTARTTLS = true
	known, empty := authority.Pool(), x509.NewCertPool()
	for name, c := range map[string]struct {
		port         int
		roots        *x509.CertPool
		port25, tls  bool
		text, advice string
	}{
		"a good host":                    {startTenant(connector(good)), known, true, true, "its certificate is valid", "connector: "},
		"an unknown authority":           {startTenant(connector(good)), empty, true, false, "unknown authority", "connector, if this is your own host"},
		"a certificate for another name": {startTenant(connector(other)), known, true, false, "not localhost", "a device in between"},
		"a host without STARTTLS":        {startTenant(inClear), known, true, false, "the server does not offer STARTTLS", "a device in between"},
		"a closed port":                  {1, known, false, false, "not tried", "neither port 1 nor port 587"},
	} {
		t.Run(name, func(t *testing.T) {
			// No name server listens there, so the probe of port 587 fails.
			resolver := dns.New([]netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1")}).ForDialer()
			probed, err := Probe(t.Context(), "", reach.Host{Name: "localhost", Port: c.port, Roots: c.roots, Resolver: resolver})
			if err != nil {
				t.Fatal(err)
			}
			if probed.Port25.OK != c.port25 || probed.STARTTLS.OK != c.tls || probed.Port587.OK {
				t.Errorf("got %+v", probed)
			}
			if !strings.Contains(probed.STARTTLS.Text, c.text) || !strings.Contains(probed.Advice, c.advice) {
				t.Errorf("got text %q and advice %q", probed.STARTTLS.Text, probed.Advice)
			}
			if unknown := probed.Authority == "CN=Test CA" && strings.Contains(probed.AuthorityPEM, "BEGIN CERTIFICATE"); unknown != (name == "an unknown authority") {
				t.Errorf("got authority %q, %q", probed.Authority, probed.AuthorityPEM)
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

func TestProbe_TriesTheSubmissionHostOfTheTenantsCloud(t *testing.T) {
	resolver := dns.New([]netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1")}).ForDialer()
	for host, want := range map[string]string{
		"c.mail.protection.outlook.com":        "smtp.office365.com",
		"c.mail.protection.office365.us":       "smtp.office365.us",
		"c.mail.protection.partner.outlook.cn": "smtp.partner.outlook.cn",
		"mail.filter.example":                  "smtp.office365.com",
	} {
		probed, err := Probe(t.Context(), "", reach.Host{Name: host, Port: 1, Resolver: resolver})
		if err != nil || !strings.Contains(probed.Port587.Text, want) || probed.ByMX != strings.HasPrefix(host, "c.") {
			t.Errorf("%s: got %+v, %v", host, probed, err)
		}
	}
}
