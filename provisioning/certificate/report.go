package certificate

import (
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Level says how much a finding matters.
type Level string

// The levels there are.
const (
	OK      Level = "ok"      // as it should be
	Note    Level = "note"    // works, and a person should know
	Problem Level = "problem" // does not work, or will not for long
)

// Finding is one fact in words that end in what to do, if there is anything.
type Finding struct {
	Level Level  `json:"level"`
	Text  string `json:"text"`
}

// Coverage reports whether the certificate speaks for an accepted domain.
type Coverage struct {
	Domain string `json:"domain"`
	Name   string `json:"name,omitempty"` // the name in the certificate that does; empty if none
}

// Report is what a person must know of a certificate.
type Report struct {
	Subject    string     `json:"subject"`
	Issuer     string     `json:"issuer"`
	Names      []string   `json:"names"` // that Exchange Online can match, in lower case
	Domains    []Coverage `json:"domains"`
	KeyType    string     `json:"key_type"`
	Protection string     `json:"protection"`
	NotBefore  time.Time  `json:"not_before"`
	NotAfter   time.Time  `json:"not_after"`
	DaysLeft   int        `json:"days_left"` // whole days, negative once expired
	Chain      []string   `json:"chain"`     // subjects, leaf first
	Trusted    bool       `json:"trusted"`   // the chain ends at a trusted root
	// MissingIssuer is the name of the certificate that should come next.
	MissingIssuer string `json:"missing_issuer,omitempty"`
	// IssuerURLs is where the certification authority says it can be had
	// (RFC 5280, 4.2.2.1).
	IssuerURLs []string  `json:"issuer_urls,omitempty"`
	ClientAuth bool      `json:"client_auth"`
	ServerAuth bool      `json:"server_auth"`
	Findings   []Finding `json:"findings"`
}

// Guard is what protects the private key, in words for people.
type Guard struct {
	Label   string
	Meaning string
	Level   Level
}

// renewalNotice is how many days before its end a certificate is warned of.
const renewalNotice = 30

// Examine gathers the facts about a chain, leaf first, at the time now. roots
// are those that Exchange Online may be taken to trust.
func Examine(chain []*x509.Certificate, now time.Time, acceptedDomains []string, roots *x509.CertPool, guard Guard) Report {
	if len(chain) == 0 {
		return Report{Findings: []Finding{{Problem, "there is no certificate: import a PFX, or make a request and complete it"}}}
	}
	leaf := chain[0]
	r := Report{
		Subject:    printable(leaf.Subject.String()),
		Issuer:     printable(leaf.Issuer.String()),
		Names:      matchableNames(leaf),
		Protection: guard.Label,
		NotBefore:  leaf.NotBefore,
		NotAfter:   leaf.NotAfter,
	}
	for _, cert := range chain {
		r.Chain = append(r.Chain, printable(cert.Subject.String()))
	}
	r.examineNames(acceptedDomains)
	r.examineChain(chain, now, roots)
	r.examineValidity(now)
	r.examineUsage(leaf)
	r.examineKey(leaf, guard)
	return r
}

func (r *Report) find(level Level, format string, args ...any) {
	r.Findings = append(r.Findings, Finding{level, fmt.Sprintf(format, args...)})
}

// matchableNames are the DNS names of a certificate, and its common name.
func matchableNames(leaf *x509.Certificate) []string {
	var names []string
	for _, name := range append([]string{leaf.Subject.CommonName}, leaf.DNSNames...) {
		name = strings.ToLower(name)
		if hostName().MatchString(name) && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// examineNames compares as Exchange Online does: the domain in the
// certificate, which a host name or a wildcard lies in, with the tenant's
// accepted domains.
func (r *Report) examineNames(acceptedDomains []string) {
	if len(r.Names) == 0 {
		r.find(Problem, "the certificate holds no DNS name, so no connector can match it: get one for a name like relay.contoso.com")
		return
	}
	covered := 0
	for _, domain := range acceptedDomains {
		domain = strings.ToLower(domain)
		name := nameWithin(r.Names, domain)
		r.Domains = append(r.Domains, Coverage{domain, name})
		if name != "" {
			covered++
			r.find(OK, "%s lies in the accepted domain %s: the connector's TlsSenderCertificateName is %s", name, domain, name)
		}
	}
	for _, c := range r.Domains {
		switch {
		case c.Name != "":
		case covered > 0:
			r.find(Note, "no name lies in %s; its senders relay all the same, as the certificate belongs to another accepted domain of the tenant", c.Domain)
		default:
			r.find(Problem, "no name lies in the accepted domain %s, so bounces and mail of foreign senders will be refused: get a certificate for a name like relay.%s", c.Domain, c.Domain)
		}
	}
}

// NameWithin is the first name of the certificate that lies in an accepted
// domain as Exchange Online sees it; empty where none does.
func NameWithin(leaf *x509.Certificate, domain string) string {
	return nameWithin(matchableNames(leaf), strings.ToLower(domain))
}

// nameWithin is the first name that is domain, its wildcard, or lies below it.
func nameWithin(names []string, domain string) string {
	for _, name := range names {
		host := strings.TrimPrefix(name, "*.")
		if host == domain || strings.HasSuffix(host, "."+domain) {
			return name
		}
	}
	return ""
}

func (r *Report) examineValidity(now time.Time) {
	const day = "2 January 2006"
	left := r.NotAfter.Sub(now)
	r.DaysLeft = int(left / (24 * time.Hour))
	if left < 0 {
		r.DaysLeft = min(r.DaysLeft, -1)
	}
	switch {
	case now.Before(r.NotBefore):
		r.find(Problem, "the certificate is not valid before %s and the box's clock says %s: check the clock", r.NotBefore.Format(day), now.Format(day))
	case left < 0:
		r.find(Problem, "the certificate expired on %s: get a new one and import it", r.NotAfter.Format(day))
	case r.DaysLeft < renewalNotice:
		r.find(Note, "the certificate expires on %s, %d days from now: get a new one and import it before", r.NotAfter.Format(day), r.DaysLeft)
	default:
		r.find(OK, "valid until %s, %d days from now", r.NotAfter.Format(day), r.DaysLeft)
	}
}

// examineUsage reports the extended key usage as a fact: whether Exchange
// Online insists on clientAuth is not known.
func (r *Report) examineUsage(leaf *x509.Certificate) {
	// A certificate without the extension is good for every usage (RFC 5280, 4.2.1.12).
	unlimited := len(leaf.ExtKeyUsage) == 0 && len(leaf.UnknownExtKeyUsage) == 0 || slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageAny)
	r.ClientAuth = unlimited || slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	r.ServerAuth = unlimited || slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	if r.ClientAuth {
		r.find(OK, "the key usage allows client authentication")
	} else {
		r.find(Note, "the key usage does not name client authentication: public authorities no longer grant it from 2026 and 2027 on, and Exchange servers' own certificates lack it too; nothing to do unless Exchange Online refuses the certificate")
	}
	if leaf.KeyUsage != 0 && leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		r.find(Problem, "the key usage forbids digital signatures, which TLS needs: get a certificate for TLS")
	}
}

func (r *Report) examineKey(leaf *x509.Certificate, guard Guard) {
	t, err := KeyType(leaf.PublicKey)
	if err != nil {
		r.find(Problem, "%v", err)
	}
	r.KeyType = string(t)
	r.find(guard.Level, "%s: %s", guard.Label, guard.Meaning)
}
