package endtoend

import (
	"crypto/x509"
	"strings"
	"testing"

	"sealpost/tests/parts"
)

// nameOfTheCertificate is what Postfix writes for a client that it verified.
const nameOfTheCertificate = `(Client CN "relay.contoso.com", Issuer "Test CA" (verified OK))`

func TestPostfixNamesTheCertificateOfWhatTheRelayDelivers(t *testing.T) {
	t.Parallel()
	certificate := clientCertificate(t, authority())
	postfix := startPostfix(t, parts.PostfixConfig{Clients: []*x509.Certificate{certificate.Leaf}})
	s := relaySite(t, told{host: "localhost", port: postfix.Port}, certificate)
	if output, err := s.swaks(); err != nil {
		t.Fatalf("%v: %s\n%s", err, output, s.relay.Log)
	}
	messages, err := postfix.Messages(1)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(messages[0], nameOfTheCertificate) {
		t.Errorf("Postfix has\n%s", messages[0])
	}
}
