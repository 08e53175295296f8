package certificate

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"sealpost/hal"
)

// worst returns the most severe level of the findings.
func worst(r Report) Level {
	level := OK
	for _, f := range r.Findings {
		if f.Level == Problem || level == OK {
			level = f.Level
		}
	}
	return level
}

func encodePEM(chain []*x509.Certificate) []byte {
	var text []byte
	for _, cert := range chain {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})...)
	}
	return text
}

var protection = KeyProtection{"tpm-resident", "it never leaves the TPM", OK}

var day = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// issue issues a certificate for pub, signed by parent with its key; without a parent
// it is self-signed.
func issue(t *testing.T, template *x509.Certificate, name string, pub crypto.PublicKey, parent *x509.Certificate, signer crypto.Signer) *x509.Certificate {
	t.Helper()
	template.SerialNumber = big.NewInt(1)
	template.Subject = pkix.Name{CommonName: name}
	if template.NotBefore.IsZero() {
		template.NotBefore = day.Add(-24 * time.Hour)
	}
	if template.NotAfter.IsZero() {
		template.NotAfter = day.Add(90 * 24 * time.Hour)
	}
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, signer)
	if err != nil {
		t.Fatal(err)
	}
	return must(x509.ParseCertificate(der))
}

// authority is a root and an intermediate below it.
type authority struct {
	root, intermediate *x509.Certificate
	key                crypto.Signer // of both
	roots              *x509.CertPool
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	other := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	ca := func() *x509.Certificate {
		return &x509.Certificate{IsCA: true, BasicConstraintsValid: true, NotBefore: day.AddDate(-5, 0, 0), NotAfter: day.AddDate(5, 0, 0)}
	}
	root := issue(t, ca(), "Test Root", other.Public(), nil, other)
	a := authority{root: root, intermediate: issue(t, ca(), "Test Issuer", key.Public(), root, other), key: key, roots: x509.NewCertPool()}
	a.roots.AddCert(root)
	return a
}

func (a authority) leaf(t *testing.T, template x509.Certificate, name string) *x509.Certificate {
	t.Helper()
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	return issue(t, &template, name, key.Public(), a.intermediate, a.key)
}

func findings(r Report, level Level) string {
	var texts []string
	for _, f := range r.Findings {
		if f.Level == level {
			texts = append(texts, f.Text)
		}
	}
	return strings.Join(texts, "\n")
}

func TestExamine_AcceptsAGoodCertificate(t *testing.T) {
	a := newAuthority(t)
	leaf := a.leaf(t, x509.Certificate{
		DNSNames:    []string{"relay.contoso.com", "Mail.Contoso.com"},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, "relay.contoso.com")
	r := Examine([]*x509.Certificate{leaf, a.intermediate}, day, []string{"contoso.com"}, a.roots, protection)
	if text := r.String(); !strings.Contains(text, "P-256, in the TPM (tpm-resident)\n") || !strings.Contains(text, "the chain is complete (2 certificates) and leads") {
		t.Errorf("got\n%s\nwant the key and a complete chain", text)
	}
	if worst(r) != OK || !r.Trusted || !r.ClientAuth || !r.ServerAuth || r.DaysLeft != 90 || r.KeyType != string(hal.ECDSAP256) {
		t.Errorf("got %s\n%+v, want a trusted certificate without findings", r, r)
	}
	if !slices.Equal(r.Names, []string{"relay.contoso.com", "mail.contoso.com"}) {
		t.Errorf("got names %v, want both in lower case", r.Names)
	}
	for _, want := range []string{"TlsSenderCertificateName is relay.contoso.com", "90 days", "never leaves the TPM", "Test Issuer"} {
		if !strings.Contains(r.String(), want) {
			t.Errorf("got\n%s\nwant %q in it", r, want)
		}
	}
	var decoded Report
	if err := json.Unmarshal(must(json.Marshal(r)), &decoded); err != nil || decoded.String() != r.String() {
		t.Errorf("decoded from JSON: got %v\n%s\nwant the same report", err, decoded)
	}
}

func TestExamine_ComparesNamesWithAcceptedDomains(t *testing.T) {
	a := newAuthority(t)
	for _, c := range []struct {
		name, domain string
		covered      bool
	}{
		{"relay.contoso.com", "contoso.com", true},
		{"contoso.com", "contoso.com", true},
		{"*.contoso.com", "contoso.com", true},
		{"*.contoso.com", "Contoso.COM", true},
		{"*.mail.contoso.com", "contoso.com", true},
		{"relay.contoso.com", "leeds.contoso.com", false},
		{"notcontoso.com", "contoso.com", false},
		{"contoso.com.evil.example", "contoso.com", false},
	} {
		leaf := a.leaf(t, x509.Certificate{DNSNames: []string{c.name}}, "")
		r := Examine([]*x509.Certificate{leaf, a.intermediate}, day, []string{c.domain}, a.roots, protection)
		if (r.Domains[0].Name == c.name) != c.covered || (worst(r) == Problem) == c.covered {
			t.Errorf("%s for %s: got %+v\n%s\nwant covered %t", c.name, c.domain, r.Domains, r, c.covered)
		}
	}
	leaf := a.leaf(t, x509.Certificate{DNSNames: []string{"relay.contoso.com"}}, "")
	r := Examine([]*x509.Certificate{leaf, a.intermediate}, day, []string{"contoso.com", "fabrikam.com"}, a.roots, protection)
	if findings(r, Problem) != "" || !strings.Contains(findings(r, Note), "fabrikam.com") {
		t.Errorf("second domain: got %s, want a note about fabrikam.com and no problem", r)
	}
	nameless := a.leaf(t, x509.Certificate{}, "Contoso Relay")
	r = Examine([]*x509.Certificate{nameless, a.intermediate}, day, []string{"contoso.com"}, a.roots, protection)
	if !strings.Contains(findings(r, Problem), "contains no DNS name") {
		t.Errorf("no name: got %s, want a problem", r)
	}
}

func TestExamine_ReportsValidityUsageKeyAndProtection(t *testing.T) {
	a := newAuthority(t)
	const soon = 10 * 24 * time.Hour
	for _, c := range []struct {
		name       string
		template   x509.Certificate
		protection KeyProtection
		level      Level
		want       string
	}{
		{"expires soon", x509.Certificate{NotAfter: day.Add(soon)}, protection, Note, "expires on 1 December 2026, 10 days from now: get a new one"},
		{"expired", x509.Certificate{NotBefore: day.Add(-2 * soon), NotAfter: day.Add(-time.Hour)}, protection, Problem, "expired on 21 November 2026: get a new one"},
		{"not yet", x509.Certificate{NotBefore: day.Add(soon)}, protection, Problem, "not valid before 1 December 2026 and the box's clock says 21 November 2026: check the clock"},
		{"server only", x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, protection, Note, "does not include client authentication"},
		{"no signatures", x509.Certificate{KeyUsage: x509.KeyUsageKeyEncipherment}, protection, Problem, "does not allow digital signatures"},
		{"key in a file", x509.Certificate{}, KeyProtection{"file", "whoever takes the box can copy it", Note}, Note, "file: whoever takes the box can copy it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.template.DNSNames = []string{"relay.contoso.com"}
			leaf := a.leaf(t, c.template, "")
			r := Examine([]*x509.Certificate{leaf, a.intermediate}, day, []string{"contoso.com"}, a.roots, c.protection)
			if worst(r) != c.level || !strings.Contains(findings(r, c.level), c.want) {
				t.Errorf("got\n%s\nwant %s %q in it", r, c.level, c.want)
			}
			if !r.Trusted {
				t.Errorf("got an untrusted chain, want a trusted one:\n%s", r)
			}
		})
	}
}

func TestExamine_ExplainsWhatIsWrongWithAChain(t *testing.T) {
	a, private := newAuthority(t), newAuthority(t)
	names := x509.Certificate{DNSNames: []string{"relay.contoso.com"}, IssuingCertificateURL: []string{"http://ca.example/issuer\x1b.crt"}}
	leaf, privateLeaf := a.leaf(t, names, ""), private.leaf(t, names, "")
	key := must(rsa.GenerateKey(rand.Reader, 1024))
	small := issue(t, &x509.Certificate{DNSNames: names.DNSNames}, "", key.Public(), a.intermediate, a.key)
	forged := must(x509.ParseCertificate(private.intermediate.Raw))
	forged.RawSubject, forged.SubjectKeyId = a.intermediate.RawSubject, a.intermediate.SubjectKeyId
	for _, c := range []struct {
		name  string
		chain []*x509.Certificate
		want  string
	}{
		{"nothing", nil, "there is no certificate: import"},
		{"intermediate missing", []*x509.Certificate{leaf}, "ends before \"CN=Test Issuer\""},
		{"where it can be had", []*x509.Certificate{leaf}, "http://ca.example/issuer\ufffd.crt"},
		{"out of order", []*x509.Certificate{leaf, a.root, a.intermediate}, "certificate 2 of the chain did not issue the one before it"},
		{"private root sent", []*x509.Certificate{privateLeaf, private.intermediate, private.root}, "\"CN=Test Root\", which is not a public root"},
		{"private root not sent", []*x509.Certificate{privateLeaf, private.intermediate}, "if it is a private root, get a certificate from a public authority"},
		{"self-signed", []*x509.Certificate{private.root}, "is self-signed"},
		{"small key", []*x509.Certificate{small, a.intermediate}, "RSA-1024, which the box cannot use"},
		{"forged", []*x509.Certificate{leaf, forged}, "ends before"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := Examine(c.chain, day, nil, a.roots, protection)
			if !strings.Contains(findings(r, Problem), c.want) {
				t.Errorf("got\n%s\nwant %q in it", r, c.want)
			}
		})
	}
	if r := Examine([]*x509.Certificate{leaf, a.intermediate}, day, nil, nil, protection); r.Trusted {
		t.Error("got a trusted chain without any roots")
	}
}

func TestPath_IsBrokenWithoutARoot(t *testing.T) {
	a, private := newAuthority(t), newAuthority(t)
	names := x509.Certificate{DNSNames: []string{"relay.contoso.com"}}
	leaf, privateLeaf := a.leaf(t, names, ""), private.leaf(t, names, "")
	impostor := must(x509.ParseCertificate(private.intermediate.Raw))
	impostor.RawSubject, impostor.SubjectKeyId = a.intermediate.RawSubject, a.intermediate.SubjectKeyId
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	for name, c := range map[string]struct {
		path   Path
		broken string
	}{
		"public, whole":                 {Path{Chain: []*x509.Certificate{leaf, a.intermediate}}, ""},
		"private, with its root":        {Path{Chain: []*x509.Certificate{privateLeaf, private.intermediate}, Root: private.root}, ""},
		"self-signed":                   {Path{Chain: []*x509.Certificate{selfSigned(t, "self", key, time.Hour)}}, ""},
		"public, intermediate missing":  {Path{Chain: []*x509.Certificate{leaf}}, "CN=Test Issuer"},
		"intermediate of the wrong key": {Path{Chain: []*x509.Certificate{leaf, impostor}}, "CN=Test Issuer"},
		"private, root missing":         {Path{Chain: []*x509.Certificate{privateLeaf, private.intermediate}}, "CN=Test Root"},
		"private, root of another":      {Path{Chain: []*x509.Certificate{privateLeaf, private.intermediate}, Root: a.root}, "CN=Test Root"},
		"private, intermediate missing": {Path{Chain: []*x509.Certificate{privateLeaf}, Root: private.root}, "CN=Test Issuer"},
	} {
		err := c.path.Verify(day, a.roots)
		if (err != nil) != (c.broken != "") || err != nil && !strings.Contains(err.Error(), fmt.Sprintf("the certificate of %q is missing", c.broken)) {
			t.Errorf("%s: got %v, want missing %q", name, err, c.broken)
		}
	}
}

func order(certs []*x509.Certificate, key crypto.PublicKey) (Path, error) {
	return Certificates{Parsed: certs}.Order(key)
}

func TestOrder_SortsAChainAndSeparatesOtherCertificates(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	old := issue(t, &x509.Certificate{NotAfter: day}, "old", key.Public(), a.intermediate, a.key)
	leaf := issue(t, &x509.Certificate{}, "new", key.Public(), a.intermediate, a.key)
	p, err := order([]*x509.Certificate{a.root, other.intermediate, old, a.intermediate, leaf}, key.Public())
	if err != nil || !slices.Equal(p.Chain, []*x509.Certificate{leaf, a.intermediate}) || p.Root != a.root || !slices.Equal(p.Extra, []*x509.Certificate{other.intermediate, old}) {
		t.Errorf("got %+v, %v, want the chain of the newer leaf, its root, and the rest as extra", p, err)
	}
	alone := selfSigned(t, "self", key, time.Hour)
	if p, err := order([]*x509.Certificate{alone}, key.Public()); err != nil || len(p.Chain) != 1 {
		t.Errorf("a self-signed leaf: got chain of %d, %v, want 1", len(p.Chain), err)
	}
	if _, err := order([]*x509.Certificate{leaf}, "no key"); err == nil {
		t.Error("got no error for a key that is a string")
	}
}

func TestParsePEM_ReadsChains(t *testing.T) {
	text := fixture(t, "chain.pem")
	read, err := ParsePEM(append([]byte("From: the authority\r\n\r\n"), text...))
	chain := read.Parsed
	if err != nil || len(chain) != 4 {
		t.Fatalf("got %d certificates, %v, want 4", len(chain), err)
	}
	reparsed, err := ParsePEM(encodePEM(chain))
	if err != nil || len(reparsed.Parsed) != 4 || !reparsed.Parsed[3].Equal(chain[3]) {
		t.Errorf("encoded and parsed: got %d certificates, %v, want the same 4", len(reparsed.Parsed), err)
	}
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"nothing":    {nil, "no PEM certificate: ask"},
		"DER":        {chain[0].Raw, "no PEM certificate"},
		"too large":  {make([]byte, MaxInput+1), "larger than 1024 KiB"},
		"broken":     {pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte{1}}), "certificate 1 in the file cannot be read"},
		"a key only": {pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte{1}}), "no PEM certificate"},
	} {
		if _, err := ParsePEM(c.data); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, c.want)
		}
	}
}

func TestRequest_ContainsTheNamesAndTheKey(t *testing.T) {
	key := must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	text, err := Request(key, []string{"Relay.contoso.com", "*.contoso.com"})
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil || request.CheckSignature() != nil || request.Subject.CommonName != "relay.contoso.com" ||
		!slices.Equal(request.DNSNames, []string{"relay.contoso.com", "*.contoso.com"}) || !key.PublicKey.Equal(request.PublicKey) {
		t.Errorf("got %+v, %v", request, err)
	}
	long := strings.Repeat("a", 60) + ".contoso.com"
	block, _ = pem.Decode(must(Request(key, []string{long})))
	if request := must(x509.ParseCertificateRequest(block.Bytes)); request.Subject.CommonName != "" || request.DNSNames[0] != long {
		t.Errorf("long name: got %v, want an empty common name and DNS name %s", request.Subject, long)
	}
	for _, names := range [][]string{nil, {""}, {"relay"}, {"relay.contoso.com\u200e"}, {"a b.example"}, {"*.*.example.com"}} {
		if _, err := Request(key, names); err == nil {
			t.Errorf("%q: got no error", names)
		}
	}
}

func TestKeyType_NamesTheTypeOfAKey(t *testing.T) {
	for want, key := range map[hal.KeyType]crypto.Signer{
		hal.RSA2048:   must(rsa.GenerateKey(rand.Reader, 2048)),
		hal.RSA3072:   must(rsa.GenerateKey(rand.Reader, 3072)),
		hal.ECDSAP256: must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)),
		hal.ECDSAP384: must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)),
	} {
		if got, err := KeyType(key.Public()); err != nil || got != want {
			t.Errorf("got %s, %v, want %s", got, err, want)
		}
	}
}

func TestReport_PrintsNoControlCharacters(t *testing.T) {
	a := newAuthority(t)
	leaf := a.leaf(t, x509.Certificate{DNSNames: []string{"relay.contoso.com"}}, "\x1b[2J")
	r := Examine([]*x509.Certificate{leaf, a.intermediate}, day, []string{"contoso.com"}, a.roots, protection)
	if strings.Contains(fmt.Sprint(r, r.Subject, r.Chain, Bundle{Leaf: leaf}), "\x1b") {
		t.Errorf("got %q, want no control characters", r.String())
	}
}

func FuzzParsePEM(f *testing.F) {
	f.Add(fixture(f, "chain.pem"))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		certs, err := ParsePEM(data)
		if err != nil {
			return
		}
		p, err := certs.Order(certs.Parsed[0].PublicKey)
		if err == nil && len(p.Chain)+len(p.Extra) > len(certs.Parsed) {
			t.Fatalf("got a chain of %d and %d extra from %d certificates", len(p.Chain), len(p.Extra), len(certs.Parsed))
		}
		if err == nil {
			_ = p.Verify(day, nil)
		}
		if err == nil && Examine(p.Chain, day, []string{"contoso.com"}, nil, protection).Subject == "" && p.Chain[0].Subject.String() != "" {
			t.Fatal("got a report without its subject")
		}
	})
}
