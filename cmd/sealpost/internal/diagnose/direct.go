package diagnose

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"blitiri.com.ar/go/spf"

	"sealpost/provisioning/dkimkey"
	"sealpost/provisioning/preflight"
	"sealpost/relay/upstream/dns"
)

// authentication looks up what receivers do to authenticate the mail of direct delivery.
type authentication struct {
	inspection
	resolver *dns.Resolver
}

// checks returns the checks of direct delivery.
func (a authentication) checks() []preflight.Check {
	return []preflight.Check{
		{Name: "reverse DNS", Run: a.checkReverse},
		{Name: "DKIM", Run: a.checkDKIM},
		{Name: "SPF", Run: a.checkSPF},
		{Name: "DMARC", Run: a.checkDMARC},
		{Name: "port 25", Run: a.checkPort},
	}
}

// publicAddresses returns the public addresses of the name in EHLO. A box behind NAT does
// not know its own.
func (a authentication) publicAddresses(ctx context.Context) (hello string, addresses []netip.Addr, err error) {
	if hello, err = a.Hostname(); err != nil {
		return hello, nil, err
	}
	addresses, _, err = a.resolver.Addresses(ctx, hello)
	if isNotFound(err) {
		err = nil
	}
	const maxAddresses = 4
	addresses = slices.DeleteFunc(addresses, func(each netip.Addr) bool { return !each.IsGlobalUnicast() || each.IsPrivate() })
	return hello, addresses[:min(maxAddresses, len(addresses))], err
}

func isNotFound(err error) bool {
	fault, ok := err.(*net.DNSError)
	return ok && fault.IsNotFound
}

func (a authentication) checkReverse(ctx context.Context) []preflight.Finding {
	hello, addresses, err := a.publicAddresses(ctx)
	var all []preflight.Address
	for _, address := range addresses {
		found := preflight.Address{Addr: address}
		names, err := a.resolver.ForDialer().LookupAddr(ctx, address.String())
		if err != nil && !isNotFound(err) {
			found.Err = err
		}
		const maxNames = 4
		for _, name := range names[:min(maxNames, len(names))] {
			name = strings.TrimSuffix(name, ".")
			forward, _, _ := a.resolver.Addresses(ctx, name)
			found.Names, found.Confirmed = append(found.Names, name), found.Confirmed || slices.Contains(forward, address)
		}
		all = append(all, found)
	}
	return preflight.ReverseDNS(hello, all, err)
}

func (a authentication) checkDKIM(ctx context.Context) []preflight.Finding {
	keys, err := dkimkey.Load(ctx, a.Store)
	if err != nil {
		return preflight.Problem(err)
	}
	var facts preflight.DKIMFacts
	if keys.Next != nil {
		facts.Next = keys.Next.Name
	}
	if keys.Active == nil {
		return preflight.DKIM(facts)
	}
	facts.Active = keys.Active.Name
	for _, domain := range a.Settings.DKIMDomains() {
		if slices.Contains(keys.Active.Domains, string(domain)) {
			facts.Domains = append(facts.Domains, string(domain))
		} else {
			facts.Unsigned = append(facts.Unsigned, string(domain))
		}
	}
	found, err := keys.Active.Compare(ctx, facts.Domains, a.resolver.TXT)
	if err != nil {
		return preflight.Problem(err)
	}
	for _, record := range found {
		switch text := record.Name + " " + record.Reason(); {
		case record.Unknown:
			facts.Unknown = append(facts.Unknown, text)
		case record.Err != nil:
			facts.Missing = append(facts.Missing, text)
		}
	}
	return preflight.DKIM(facts)
}

// spf returns the result for a domain and an address, with the reason.
func (a authentication) spf(ctx context.Context, hello, domain string, address netip.Addr) (spf.Result, error) {
	return spf.CheckHostWithSender(address.AsSlice(), hello, "postmaster@"+domain, spf.WithContext(ctx), spf.WithResolver(a.resolver.ForDialer()))
}

// checkSPF has no finding without a public address, which is another check's.
func (a authentication) checkSPF(ctx context.Context) (findings []preflight.Finding) {
	hello, addresses, _ := a.publicAddresses(ctx)
	for _, domain := range a.Settings.AcceptedDomains() {
		for _, address := range addresses {
			result, err := a.spf(ctx, hello, string(domain), address)
			findings = append(findings, preflight.SPF(string(domain), address, string(result), err)...)
		}
	}
	return findings
}

func (a authentication) checkDMARC(ctx context.Context) (findings []preflight.Finding) {
	hello, addresses, _ := a.publicAddresses(ctx)
	keys, err := dkimkey.Load(ctx, a.Store)
	if err != nil {
		return nil // that of the check of DKIM
	}
	for _, domain := range a.Settings.AcceptedDomains() {
		facts := preflight.DMARCFacts{Domain: string(domain), Texts: make(map[string][]string)}
		if keys.Active != nil {
			facts.Signer = dkimkey.SigningDomain(facts.Domain, keys.Active.Domains)
		}
		for _, name := range preflight.DMARCNames(facts.Domain) {
			texts, err := a.resolver.TXT(ctx, name)
			if err != nil && facts.Err == nil {
				facts.Err = err
			}
			facts.Texts[name] = texts
		}
		facts.SPF = len(addresses) > 0
		for _, address := range addresses {
			result, _ := a.spf(ctx, hello, facts.Domain, address)
			facts.SPF = facts.SPF && result == spf.Pass
		}
		findings = append(findings, preflight.DMARC(facts)...)
	}
	return findings
}

// checkPort connects to the first mail host of the first accepted domain. It has no finding
// for a domain without one, which is another check's.
func (a authentication) checkPort(ctx context.Context) []preflight.Finding {
	hosts, err := a.resolver.ForDialer().LookupMX(ctx, string(a.Settings.AcceptedDomains()[0])+".")
	if err != nil || len(hosts) == 0 || hosts[0].Host == "." {
		return nil
	}
	const timeout = 10 * time.Second
	host, port := strings.TrimSuffix(hosts[0].Host, "."), a.Settings.Upstream.Direct.Port
	dialer := net.Dialer{Timeout: timeout, Resolver: a.resolver.ForDialer()}
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err == nil {
		_ = conn.Close()
	}
	return preflight.Port25(host, port, err)
}
