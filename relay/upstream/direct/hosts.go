package direct

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"

	"sealpost/relay/journal"
	"sealpost/relay/upstream/dns"
	"sealpost/relay/upstream/esmtp"
	"sealpost/relay/upstream/mtasts"
	"sealpost/relay/upstream/transport"
)

// method is the part of direct delivery in the transport: the hosts of a domain, and what
// TLS they must have.
type method struct {
	config  Config
	journal *journal.Journal
}

// maxHosts is how many mail hosts of a domain are tried in one attempt.
const maxHosts = 5

// Hosts implements transport.Method: it returns the mail hosts of the domain in the order
// of their preference, at random within one (RFC 5321 section 5.1). A domain without MX
// records is its own mail host; one with a null MX (RFC 7505) has none.
func (m method) Hosts(ctx context.Context, to transport.Destination) ([]transport.Host, error) {
	if isLiteral(to.Domain) {
		return nil, refusal(550, 1, 2, "%s is an address, not a domain: direct delivery needs a domain", to.Domain)
	}
	records, validated, err := m.config.Resolver.MX(ctx, to.Domain)
	if fault := (*net.DNSError)(nil); errors.As(err, &fault) && fault.IsNotFound {
		return nil, refusal(550, 1, 2, "the domain %s does not exist", to.Domain)
	}
	if err != nil {
		return nil, &lookupFailed{"the mail hosts of " + to.Domain, err}
	}
	if len(records) == 0 {
		records = []dns.MX{{Host: to.Domain}}
	}
	if records = slices.DeleteFunc(records, func(mx dns.MX) bool { return mx.Host == "." }); len(records) == 0 {
		return nil, refusal(556, 1, 10, "the domain %s accepts no mail (null MX)", to.Domain)
	}
	rand.Shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
	slices.SortStableFunc(records, func(a, b dns.MX) int { return cmp.Compare(a.Preference, b.Preference) })
	if records = m.beforeSelf(records); len(records) == 0 {
		return nil, refusal(554, 4, 6, "mail for %s would loop: its mail host is this one, %s", to.Domain, m.config.Hello)
	}

	policy, err := m.config.Policies.Policy(ctx, to.Domain)
	if err != nil {
		m.journal.PolicyFault(to.Domain, string(policy.Mode), err)
	}
	implicit := len(records) == 1 && records[0].Host == to.Domain
	var hosts []transport.Host
	for _, mx := range records[:min(len(records), maxHosts)] {
		d := destination{method: m, domain: to.Domain, host: mx.Host, policy: policy, validated: validated, implicit: implicit}
		hosts = append(hosts, transport.Host{Name: mx.Host, Secure: d.secure})
	}
	return hosts, nil
}

// beforeSelf returns the sorted records that are preferred to that of this host: others
// would send the mail back (RFC 5321 section 5.1).
func (m method) beforeSelf(records []dns.MX) []dns.MX {
	self := slices.IndexFunc(records, func(mx dns.MX) bool { return strings.EqualFold(mx.Host, m.config.Hello) })
	if self < 0 {
		return records
	}
	own := records[self].Preference
	return slices.DeleteFunc(records, func(mx dns.MX) bool { return mx.Preference >= own })
}

// destination is one mail host of a domain.
type destination struct {
	method
	domain, host string
	policy       mtasts.Policy
	validated    bool // the MX records were validated by DNSSEC
	implicit     bool // the domain has no MX records
}

// secure returns the host's addresses and what TLS it must have: what the settings say of
// its domain, or else DANE (RFC 7672), which goes before MTA-STS (RFC 8461 section 2), or
// else a certificate that the roots verify.
func (d destination) secure(ctx context.Context) ([]netip.Addr, transport.TLSPolicy, error) {
	addresses, validated, err := d.config.Resolver.Addresses(ctx, d.host)
	fault := (*net.DNSError)(nil)
	missing := err == nil && len(addresses) == 0 || errors.As(err, &fault) && fault.IsNotFound
	switch {
	case missing && d.implicit:
		return nil, transport.TLSPolicy{}, refusal(550, 1, 2, "the domain %s has no mail host", d.domain)
	case missing:
		return nil, transport.TLSPolicy{}, &noAddress{d.host}
	case err != nil:
		return nil, transport.TLSPolicy{}, &lookupFailed{"the addresses of " + d.host, err}
	}
	switch d.config.Domains[d.domain] {
	case May:
		return addresses, transport.TLSPolicy{Name: "if offered, by the settings", Verify: acceptAny, Clear: true}, nil
	case Encrypt:
		return addresses, transport.TLSPolicy{Name: "any certificate, by the settings", Verify: acceptAny}, nil
	}
	if d.validated && validated {
		records, secured, err := d.config.Resolver.LookupTLSA(ctx, d.host, uint16(d.config.Port))
		if err != nil {
			// Whoever suppresses the answer must not get mail over less (RFC 7672 section 2.1.1).
			return nil, transport.TLSPolicy{}, &lookupFailed{"the TLSA records of " + d.host, err}
		}
		if usable := usableForSMTP(records); secured && len(usable) > 0 {
			return addresses, transport.TLSPolicy{Name: "DANE", Verify: verifyDANE(usable, d.host)}, nil
		}
	}
	verify := verifyByRoots(d.host, d.config.Roots)
	switch {
	case d.policy.Mode == mtasts.Enforce && !d.policy.Matches(d.host):
		return nil, transport.TLSPolicy{}, &notInPolicy{d.domain, d.host}
	case d.policy.Mode == mtasts.Enforce:
		return addresses, transport.TLSPolicy{Name: "MTA-STS", Verify: verify}, nil
	case d.policy.Mode == mtasts.Testing:
		return addresses, transport.TLSPolicy{Name: "verified certificate, MTA-STS is testing", Verify: verify}, nil
	}
	return addresses, transport.TLSPolicy{Name: "verified certificate", Verify: verify}, nil
}

// NewHandshake implements transport.Method.
func (m method) NewHandshake(*journal.Connection, string) transport.Handshake {
	return handshake{m.config.Hello}
}

// handshake sends no certificate and does not log in.
type handshake struct{ hello string }

// Certificate implements transport.Handshake.
func (handshake) Certificate() *tls.Certificate { return &tls.Certificate{} }

// Authenticate implements transport.Handshake.
func (h handshake) Authenticate(ctx context.Context, client *esmtp.Client) error {
	return client.Hello(ctx, h.hello)
}
