package endtoend

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"strings"
	"testing"

	"sealpost/tests/rigs/parts"
)

func TestCertificateRequest_LeadsToACertificateThatDelivers(t *testing.T) {
	for _, key := range []string{"RSA-2048", "P-384"} {
		t.Run(key, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, told{host: "localhost"})
			leaf, chain := s.requested(key)
			s.write("answer.pem", append(chain, authority().PEM()...))
			result := s.run("certificate", "import", "--pem", "answer.pem")
			if result.Status != 0 || !strings.Contains(result.Out, key) || !strings.Contains(result.Out, "tpm-resident") {
				t.Fatalf("the import ended with %d: %s%s", result.Status, result.Out, result.Err)
			}
			postfix := startPostfix(t, parts.PostfixConfig{Clients: []*x509.Certificate{leaf}})
			s.relayTo(postfix.Port)
			s.mustDeliver()
			messages, err := postfix.Messages(1)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(messages[0], nameOfTheCertificate) {
				t.Errorf("Postfix has\n%s", messages[0])
			}
		})
	}
}

// requested has the box make a request and the authority answer it.
func (s *site) requested(key string) (*x509.Certificate, []byte) {
	s.t.Helper()
	result := s.run("certificate", "request", "--name", relayName, "--key", key)
	if result.Status != 0 {
		s.t.Fatalf("the request ended with %d: %s", result.Status, result.Err)
	}
	leaf, chain, err := authority().Answer([]byte(result.Out))
	if err != nil {
		s.t.Fatal(err)
	}
	return leaf, chain
}

func TestCertificateImport_RefusesAnAnswerToAnotherRequestInASentence(t *testing.T) {
	t.Parallel()
	s := newSite(t, told{host: "localhost"})
	s.write("other.pem", parts.PEM(clientCertificate(t, authority()).Leaf.Raw, authority().Certificate.Raw))
	refuses := func(words string) {
		t.Helper()
		before := s.read("box.state")
		result := s.run("certificate", "import", "--pem", "other.pem")
		if result.Status != 1 || !strings.Contains(result.Err, words) || strings.Count(result.Err, "\n") != 1 {
			t.Errorf("the import ended with %d: %s%s", result.Status, result.Out, result.Err)
		}
		if string(s.read("box.state")) != string(before) {
			t.Error("the state has changed")
		}
	}
	s.importPFX(clientCertificate(t, authority()))
	refuses("no certificate was requested on this box")
	_, chain := s.requested("P-256")
	refuses("no certificate in the file belongs to the private key")
	s.write("answer.pem", append(chain, authority().PEM()...))
	if result := s.run("certificate", "import", "--pem", "answer.pem"); result.Status != 0 {
		t.Errorf("afterwards the right answer is refused: %s", result.Err)
	}
}

const tenantHost = "contoso-com.mail.protection.outlook.com"

// startDNS starts a name server by which the MX of contoso.com is the host, on
// this machine.
func startDNS(t *testing.T, mx string) *parts.Dnsmasq {
	t.Helper()
	dns, err := parts.NewDnsmasq("mx-host=contoso.com,"+mx+",0", "host-record="+mx+",127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dns.Close)
	return dns
}

func TestMX_LeadsToTheTenant(t *testing.T) {
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
		t.Errorf("delivered by %v", upstream)
	}
}

func TestMX_ElsewhereIsNotTrustedAndTheClientIsTold(t *testing.T) {
	t.Parallel()
	certificate := clientCertificate(t, authority())
	// Even a server that could prove this name does not get the mail.
	server, err := authority().IssueP256(nil, "filter.example")
	if err != nil {
		t.Fatal(err)
	}
	postfix := startPostfix(t, parts.PostfixConfig{Certificate: server, Clients: []*x509.Certificate{certificate.Leaf}})
	s := mxSite(t, startDNS(t, "filter.example"), postfix, certificate)
	s.mustKeep(`the MX of contoso.com is "filter.example", not an Exchange Online host: set upstream.connector.host`)
	if strings.Contains(postfix.Log(), "ehlo=") {
		t.Errorf("the relay spoke with the MX:\n%s", postfix.Log())
	}
}

// mxSite is a relay that is told its name server in place of the tenant's host.
func mxSite(t *testing.T, dns *parts.Dnsmasq, postfix *parts.Postfix, certificate tls.Certificate) *site {
	t.Helper()
	return relaySite(t, told{port: postfix.Port, upstream: fmt.Sprintf("dns = [%q]", dns.Address)}, certificate)
}
