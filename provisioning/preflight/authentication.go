package preflight

import (
	"fmt"
	"net/netip"
	"strings"

	"sealpost/hal/fault"
	"sealpost/provisioning/certificate"
)

// DKIMFacts are facts about the DKIM keys of the box.
type DKIMFacts struct {
	Active, Next string   // the names of the keys; empty if there are none
	Domains      []string // whose mail the active keys sign
	Unsigned     []string // the other domains of the settings
	Missing      []string // which records of the active keys are not published, and why
	Unknown      []string // which could not be looked up, and why
}

// DKIM checks that mail is signed, and that receivers find the keys.
func DKIM(f DKIMFacts) []Finding {
	var findings []Finding
	add := func(level certificate.Level, code fault.Code, format string, args ...any) {
		findings = append(findings, Finding{Level: level, Code: code, Text: fmt.Sprintf(format, args...)})
	}
	switch {
	case f.Active == "" && f.Next == "":
		add(certificate.Note, fault.NoDKIMKeys, "there are no keys yet, so mail is sent without a signature")
	case f.Active == "":
		add(certificate.Note, fault.DKIMUnpublished, "not published yet: mail is sent without a signature until the keys %s are", f.Next)
	case len(f.Domains) > 0 && len(f.Missing)+len(f.Unknown) == 0:
		add(certificate.OK, "", "mail from %s is signed by %s, whose records are published", strings.Join(f.Domains, ", "), f.Active)
	}
	for _, missing := range f.Missing {
		add(certificate.Problem, fault.DKIMUnpublished, "receivers cannot verify the signatures: %s", missing)
	}
	for _, unknown := range f.Unknown {
		add(certificate.Note, "", "mail is signed by %s: %s", f.Active, unknown)
	}
	if f.Active != "" && len(f.Unsigned) > 0 {
		add(certificate.Note, fault.DKIMUnpublished, "mail from %s is sent without a signature: the keys %s are not activated there", strings.Join(f.Unsigned, ", "), f.Active)
	}
	if f.Active != "" && f.Next != "" {
		add(certificate.Note, fault.DKIMUnpublished, "the next keys %s are not activated yet", f.Next)
	}
	return findings
}

// Address is a public address of the box, with what reverse DNS says about it.
type Address struct {
	netip.Addr
	Names     []string // PTR records
	Confirmed bool     // a name resolves to the address (RFC 8601 section 2.7.3)
	Err       error    // of the lookup
}

// ReverseDNS checks the addresses of the name in EHLO, which are to be the site's public
// ones. err is that of looking them up.
func ReverseDNS(hello string, addresses []Address, err error) []Finding {
	if err != nil {
		return problem("looking up the addresses of %s, by which the box introduces itself, failed: %v", hello, err)
	}
	if len(addresses) == 0 {
		return problem("%s, by which the box introduces itself, has no public address in DNS, and many receivers reject its mail: publish one, or set lan.hostname to a name that has the site's public address", hello)
	}
	var findings []Finding
	for _, a := range addresses {
		switch {
		case a.Err != nil:
			findings = append(findings, note("looking up the name of %s failed: %v", a, a.Err)...)
		case len(a.Names) == 0:
			findings = append(findings, problem("%s has no name in reverse DNS (PTR), and most receivers reject its mail: ask the internet provider to set it to %s", a, hello)...)
		case !a.Confirmed:
			findings = append(findings, problem("the name of %s in reverse DNS is %s, which does not resolve to that address: ask the internet provider to set it to %s", a, strings.Join(a.Names, ", "), hello)...)
		default:
			findings = append(findings, ok("%s is %s", a, strings.Join(a.Names, ", "))...)
		}
	}
	return findings
}

// SPF checks the result for a sender's domain and an address of the site (RFC 7208 section
// 2.6). err says more about an error.
func SPF(domain string, address netip.Addr, result string, err error) []Finding {
	mechanism := "ip4:"
	if address.Is6() {
		mechanism = "ip6:"
	}
	switch result {
	case "pass":
		return ok("%s permits %s", domain, address)
	case "none":
		return problem("%s has no SPF record: publish a TXT record such as \"v=spf1 %s%s -all\", with all other servers that send its mail", domain, mechanism, address)
	case "temperror":
		return note("the SPF record of %s could not be looked up: %v", domain, err)
	case "permerror":
		return problem("the SPF record of %s is invalid, and receivers may reject its mail: %v", domain, err)
	}
	return problem("the SPF record of %s does not permit %s (%s): add %s%s to it", domain, address, result, mechanism, address)
}

// Port25 checks whether a mail host could be reached.
func Port25(host string, port int, err error) []Finding {
	if err == nil {
		return ok("%s can be reached on port %d", host, port)
	}
	return note("%s cannot be reached on port %d: %v: many internet providers block outgoing mail; ask for it to be opened, or use the method submission", host, port, err)
}
