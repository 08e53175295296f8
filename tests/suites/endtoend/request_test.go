package endtoend

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"strings"
	"testing"

	"sealpost/tests/rigs/parts"
)

func TestCertificateRequest_YieldsACertificateThatDelivers(t *testing.T) {
	for _, key := range []string{"RSA-2048", "P-384"} {
		t.Run(key, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, siteConfig{host: "localhost"})
			leaf, chain := s.requestCertificate(key)
			s.write("issued.pem", append(chain, authority().PEM()...))
			result := s.run("certificate", "import", "--pem", "issued.pem")
			if result.Status != 0 || !strings.Contains(result.Out, key) || !strings.Contains(result.Out, "tpm-resident") {
				t.Fatalf("import: got status %d, want 0: %s%s", result.Status, result.Out, result.Err)
			}
			postfix := startPostfix(t, parts.PostfixConfig{Clients: []*x509.Certificate{leaf}})
			s.relayTo(postfix.Port)
			s.mustDeliver()
			messages, err := postfix.Messages(1)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(messages[0], verifiedClientCert) {
				t.Errorf("got message without %q:\n%s", verifiedClientCert, messages[0])
			}
		})
	}
}

// requestCertificate has the box create a request and the authority sign it.
func (s *site) requestCertificate(key string) (*x509.Certificate, []byte) {
	s.t.Helper()
	result := s.run("certificate", "request", "--name", relayName, "--key", key)
	if result.Status != 0 {
		s.t.Fatalf("certificate request: got status %d, want 0: %s", result.Status, result.Err)
	}
	leaf, chain, err := authority().SignRequest([]byte(result.Out))
	if err != nil {
		s.t.Fatal(err)
	}
	return leaf, chain
}

func TestCertificateImport_RejectsACertificateForAnotherRequest(t *testing.T) {
	t.Parallel()
	s := newSite(t, siteConfig{host: "localhost"})
	s.write("other.pem", parts.PEM(clientCertificate(t, authority()).Leaf.Raw, authority().Certificate.Raw))
	failImport := func(want string) {
		t.Helper()
		before := s.read("box.state")
		result := s.run("certificate", "import", "--pem", "other.pem")
		if result.Status != 1 || !strings.Contains(result.Err, want) || strings.Count(result.Err, "\n") != 1 {
			t.Errorf("import: got status %d and %s%s, want status 1 and one line with %q", result.Status, result.Out, result.Err, want)
		}
		if string(s.read("box.state")) != string(before) {
			t.Error("the state has changed")
		}
	}
	s.importPFX(clientCertificate(t, authority()))
	failImport("no certificate was requested on this box")
	_, chain := s.requestCertificate("P-256")
	failImport("no certificate in the file belongs to the private key")
	s.write("issued.pem", append(chain, authority().PEM()...))
	if result := s.run("certificate", "import", "--pem", "issued.pem"); result.Status != 0 {
		t.Errorf("the certificate for the request is rejected: %s", result.Err)
	}
}

const tenantHost = "contoso-com.mail.protection.outlook.com"

// startDNS starts a name server with this MX for contoso.com; the host is this
// machine.
func startDNS(t *testing.T, mx string) *parts.Dnsmasq {
	t.Helper()
	dns, err := parts.NewDnsmasq("mx-host=contoso.com,"+mx+",0", "host-record="+mx+",127.0.0.1",
		"mx-host="+recipientDomain+","+recipientHost+",0", "host-record="+recipientHost+",127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dns.Close)
	return dns
}

func TestMX_IsUsedToFindTheTenant(t *testing.T) {
	t.Parallel()
	certificate := clientCertificate(t, authority())
	server, err := authority().IssueP256(nil, tenantHost)
	if err != nil {
		t.Fatal(err)
	}
	postfix := startPostfix(t, parts.PostfixConfig{Certificate: server, Clients: []*x509.Certificate{certificate.Leaf}})
	s := mxSite(t, startDNS(t, tenantHost), postfix, certificate)
	s.mustDeliver()
	upstream, _ := s.events("delivered", 1)[0]["upstream"].(map[string]any)
	if upstream["host"] != tenantHost || upstream["peer"] != "CN="+tenantHost {
		t.Errorf("got upstream %v, want host and peer %s", upstream, tenantHost)
	}
}

func TestMX_OutsideExchangeOnlineIsNotTrustedAndTheClientGetsTheReason(t *testing.T) {
	t.Parallel()
	certificate := clientCertificate(t, authority())
	// Even a server with a valid certificate for this name must not get the mail.
	server, err := authority().IssueP256(nil, "filter.example")
	if err != nil {
		t.Fatal(err)
	}
	postfix := startPostfix(t, parts.PostfixConfig{Certificate: server, Clients: []*x509.Certificate{certificate.Leaf}})
	s := mxSite(t, startDNS(t, "filter.example"), postfix, certificate)
	s.mustQueue(`the MX of contoso.com is "filter.example", not an Exchange Online host: set upstream.connector.host`)
	if strings.Contains(postfix.Log(), "ehlo=") {
		t.Errorf("the relay sent EHLO to the MX:\n%s", postfix.Log())
	}
}

// mxSite returns a relay that finds the tenant's host by the MX.
func mxSite(t *testing.T, dns *parts.Dnsmasq, postfix *parts.Postfix, certificate tls.Certificate) *site {
	t.Helper()
	return relaySite(t, siteConfig{port: postfix.Port, upstream: fmt.Sprintf("dns = [%q]", dns.Address)}, certificate)
}
