package endtoend

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"strings"
	"testing"

	"sealpost/tests/rigs/parts"
)

// keyTypes are the key types with the protection that the software TPM supports.
var keyTypes = []struct {
	name       string
	protection string
	make       func() (crypto.Signer, error)
}{
	{"RSA-2048", "tpm-resident", func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 2048) }},
	{"RSA-3072", "tpm-resident", func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 3072) }},
	{"RSA-4096", "tpm-sealed", func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 4096) }},
	{"P-256", "tpm-resident", func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }},
	{"P-384", "tpm-resident", func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P384(), rand.Reader) }},
}

// explanations are the texts by which an import explains a protection.
var explanations = map[string]string{
	"tpm-resident": "it stays inside this box's TPM and cannot be copied",
	"tpm-sealed":   "only this box's TPM can decrypt it, but it is in the box's memory",
}

func TestKeyTypes_DeliverOverTLS12AndTLS13(t *testing.T) {
	t.Parallel()
	certificates := make(map[string]tls.Certificate)
	var leaves []*x509.Certificate
	for _, k := range keyTypes {
		certificate, err := authority().Issue(must(k.make()), nil, relayName)
		if err != nil {
			t.Fatal(err)
		}
		certificates[k.name] = withRoot(certificate, authority())
		leaves = append(leaves, certificate.Leaf)
	}
	servers := map[string]*parts.Postfix{
		"1.2": startPostfix(t, parts.PostfixConfig{Clients: leaves, TLS: ">=TLSv1.2, <=TLSv1.2"}),
		"1.3": startPostfix(t, parts.PostfixConfig{Clients: leaves, TLS: ">=TLSv1.3"}),
	}
	for _, k := range keyTypes {
		t.Run(k.name, func(t *testing.T) {
			s := newSite(t, siteConfig{host: "localhost"})
			output := s.importPFX(certificates[k.name])
			for _, want := range []string{k.name, k.protection, explanations[k.protection]} {
				if !strings.Contains(output, want) {
					t.Errorf("the output of the import lacks %q:\n%s", want, output)
				}
			}
			for version, postfix := range servers {
				s.relayTo(postfix.Port)
				s.mustDeliver()
				upstream, _ := s.events("delivered", 1)[0]["upstream"].(map[string]any)
				if upstream["tls"] != "TLS "+version || upstream["key"] != k.protection || upstream["shown"] != "CN="+relayName {
					t.Errorf("got upstream %v, want TLS %s, key %s and CN=%s", upstream, version, k.protection, relayName)
				}
			}
		})
	}
	for version, postfix := range servers {
		messages, err := postfix.Messages(len(keyTypes))
		if err != nil {
			t.Fatal(err)
		}
		if n := countContaining(messages, verifiedClientCert); n != len(keyTypes) {
			t.Errorf("TLS %s: Postfix verified the certificate for %d messages, want %d", version, n, len(keyTypes))
		}
		if n := countContaining(messages, "using TLSv"+version+" with"); n != len(keyTypes) {
			t.Errorf("TLS %s: got %d messages over this version, want %d", version, n, len(keyTypes))
		}
	}
}
