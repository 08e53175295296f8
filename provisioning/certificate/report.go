package certificate

import (
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	"sealpost/hal/printable"
)

// Level is the severity of a finding.
type Level string

// The levels.
const (
	OK      Level = "ok"
	Note    Level = "note"    // works, but a person should know
	Problem Level = "problem" // does not work, or soon will not
)

// Finding is one fact, with what to do about it if anything.
type Finding struct {
	Level Level  `json:"level"`
	Text  string `json:"text"`
}

// Coverage reports whether the certificate has a name in an accepted domain.
type Coverage struct {
	Domain string `json:"domain"`
	Name   string `json:"name,omitempty"` // the name in that domain; empty if none
}

// Report describes a certificate.
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
	// MissingIssuer is the name of the issuer that the chain lacks.
	MissingIssuer string `json:"missing_issuer,omitempty"`
	// IssuerURLs are where it can be downloaded (RFC 5280, 4.2.2.1).
	IssuerURLs []string  `json:"issuer_urls,omitempty"`
	ClientAuth bool      `json:"client_auth"`
	ServerAuth bool      `json:"server_auth"`
	Findings   []Finding `json:"findings"`
	// LAN says which certificates devices on the LAN get; the caller adds it.
	LAN []string `json:"lan,omitempty"`
}

// KeyProtection describes the protection of the private key.
type KeyProtection struct {
	Label   string
	Meaning string
	Level   Level
}

// renewalNotice is how many days before the expiry the report warns.
const renewalNotice = 30

// Examine reports on a chain, leaf first, at the time now. roots are those that
// we assume Exchange Online trusts.
func Examine(chain []*x509.Certificate, now time.Time, acceptedDomains []string, roots *x509.CertPool, protection KeyProtection) Report {
	if len(chain) == 0 {
		return Report{Findings: []Finding{{Problem, "there is no certificate: import a PFX, or make a request and complete it"}}}
	}
	leaf := chain[0]
	r := Report{
		Subject:    printable.Line(leaf.Subject.String()),
		Issuer:     printable.Line(leaf.Issuer.String()),
		Names:      matchableNames(leaf),
		Protection: protection.Label,
		NotBefore:  leaf.NotBefore,
		NotAfter:   leaf.NotAfter,
	}
	for _, cert := range chain {
		r.Chain = append(r.Chain, printable.Line(cert.Subject.String()))
	}
	r.examineNames(acceptedDomains)
	r.examineChain(chain, now, roots)
	r.examineValidity(now)
	r.examineUsage(leaf)
	r.examineKey(leaf, protection)
	return r
}

func (r *Report) add(level Level, format string, args ...any) {
	r.Findings = append(r.Findings, Finding{level, fmt.Sprintf(format, args...)})
}

// matchableNames returns the common name and the DNS names of a certificate.
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

// examineNames compares as Exchange Online does: a host name or wildcard in the
// certificate must be in an accepted domain of the tenant.
func (r *Report) examineNames(acceptedDomains []string) {
	if len(r.Names) == 0 {
		r.add(Problem, "the certificate contains no DNS name, so no connector can match it: get one for a name like relay.contoso.com")
		return
	}
	covered := 0
	for _, domain := range acceptedDomains {
		domain = strings.ToLower(domain)
		name := nameWithin(r.Names, domain)
		r.Domains = append(r.Domains, Coverage{domain, name})
		if name != "" {
			covered++
			r.add(OK, "%s is in the accepted domain %s: the connector's TlsSenderCertificateName is %s", name, domain, name)
		}
	}
	for _, c := range r.Domains {
		switch {
		case c.Name != "":
		case covered > 0:
			r.add(Note, "no name is in %s; mail from its senders is relayed anyway, because the certificate is for another accepted domain of the tenant", c.Domain)
		default:
			r.add(Problem, "no name is in the accepted domain %s, so notifications and mail from senders in other domains will be rejected: get a certificate for a name like relay.%s", c.Domain, c.Domain)
		}
	}
}

// NameWithin returns the first name of the certificate that is in an accepted
// domain; empty if none is.
func NameWithin(leaf *x509.Certificate, domain string) string {
	return nameWithin(matchableNames(leaf), strings.ToLower(domain))
}

// nameWithin returns the first name that is domain, its wildcard, or below it.
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
		r.add(Problem, "the certificate is not valid before %s and the box's clock says %s: check the clock", r.NotBefore.Format(day), now.Format(day))
	case left < 0:
		r.add(Problem, "the certificate expired on %s: get a new one and import it", r.NotAfter.Format(day))
	case r.DaysLeft < renewalNotice:
		r.add(Note, "the certificate expires on %s, %d days from now: get a new one and import it before then", r.NotAfter.Format(day), r.DaysLeft)
	default:
		r.add(OK, "valid until %s, %d days from now", r.NotAfter.Format(day), r.DaysLeft)
	}
}

// examineUsage reports the extended key usage without a verdict, because it is not
// known whether Exchange Online requires clientAuth.
func (r *Report) examineUsage(leaf *x509.Certificate) {
	// A certificate without the extension allows every usage (RFC 5280, 4.2.1.12).
	unlimited := len(leaf.ExtKeyUsage) == 0 && len(leaf.UnknownExtKeyUsage) == 0 || slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageAny)
	r.ClientAuth = unlimited || slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	r.ServerAuth = unlimited || slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	if r.ClientAuth {
		r.add(OK, "the extended key usage allows client authentication")
	} else {
		r.add(Note, "the extended key usage does not include client authentication: public authorities stop issuing it in 2026 and 2027, and Exchange servers' own certificates lack it too; nothing to do unless Exchange Online rejects the certificate")
	}
	if leaf.KeyUsage != 0 && leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		r.add(Problem, "the key usage does not allow digital signatures, which TLS needs: get a certificate for TLS")
	}
}

func (r *Report) examineKey(leaf *x509.Certificate, protection KeyProtection) {
	t, err := KeyType(leaf.PublicKey)
	if err != nil {
		r.add(Problem, "%v", err)
	}
	r.KeyType = string(t)
	r.add(protection.Level, "%s: %s", protection.Label, protection.Meaning)
}
