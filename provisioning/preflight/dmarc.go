package preflight

import (
	"fmt"
	"slices"
	"strings"
)

// DMARCNames returns where to look for the DMARC records of an author's domain, at most
// eight names: that of the domain and those above it (RFC 9989 section 4.10).
func DMARCNames(domain string) (names []string) {
	const limit = 8
	labels := strings.Split(strings.ToLower(strings.TrimSuffix(domain, ".")), ".")
	for len(labels) > 0 {
		names = append(names, "_dmarc."+strings.Join(labels, "."))
		labels = labels[max(1, len(labels)-(limit-1)):]
	}
	return names
}

// DMARCFacts are facts about a domain for DMARC.
type DMARCFacts struct {
	Domain string              // of the author
	Texts  map[string][]string // the TXT records at [DMARCNames]
	Signer string              // the domain that signs by DKIM; empty for none
	SPF    bool                // SPF passes for the author's domain
	Err    error               // of a lookup
}

// DMARC checks that a domain has a DMARC record, and that its mail passes.
func DMARC(f DMARCFacts) []Finding {
	if f.Err != nil {
		return note("the DMARC record of %s could not be looked up: %v", f.Domain, f.Err)
	}
	records, trouble := f.records()
	if trouble != "" {
		return problem("%s", trouble)
	}
	organization := organizationalDomain(f.Domain, records)
	policy, at := records["_dmarc."+f.Domain], f.Domain
	if policy == nil {
		policy, at = records["_dmarc."+organization], organization
	}
	if policy == nil {
		return note("%s has no DMARC record, which large receivers ask for: publish the TXT record _dmarc.%s \"v=DMARC1; p=none\"", f.Domain, f.Domain)
	}
	demanded := policy.demanded(at == f.Domain)
	aligned := f.SPF || f.Signer == f.Domain ||
		f.Signer != "" && policy["adkim"] != "s" && isWithin(f.Signer, organization) && isWithin(f.Domain, f.Signer)
	switch {
	case aligned:
		return ok("mail from %s passes; the policy at %s is %s", f.Domain, at, demanded)
	case demanded == "none":
		return note("mail from %s does not pass, because neither SPF nor a DKIM signature for it does; the policy at %s is none", f.Domain, at)
	}
	return problem("mail from %s does not pass, because neither SPF nor a DKIM signature for it does, and its policy at %s is %s", f.Domain, at, demanded)
}

// dmarcRecord holds the tags of a record; nil if there is none.
type dmarcRecord map[string]string

// records returns the records by their names, or what is wrong with one.
func (f DMARCFacts) records() (map[string]dmarcRecord, string) {
	found := make(map[string]dmarcRecord)
	for _, name := range DMARCNames(f.Domain) {
		for _, text := range f.Texts[name] {
			record := parseDMARC(text)
			switch {
			case record == nil:
			case found[name] != nil:
				return nil, fmt.Sprintf("%s has several DMARC records, so receivers ignore all: remove all but one", name)
			case !slices.Contains([]string{"", "none", "quarantine", "reject"}, record["p"]):
				return nil, fmt.Sprintf("the DMARC record %s has the policy %.40q, which does not exist: write none, quarantine or reject", name, record["p"])
			default:
				found[name] = record
			}
		}
	}
	return found, ""
}

// parseDMARC returns the tags of a DMARC record; nil if the text is none.
func parseDMARC(text string) dmarcRecord {
	record := make(dmarcRecord)
	for i, tag := range strings.Split(text, ";") {
		name, value, _ := strings.Cut(tag, "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if i == 0 && (name != "v" || value != "DMARC1") {
			return nil
		}
		if _, twice := record[name]; !twice {
			record[name] = strings.ToLower(value)
		}
	}
	return record
}

// demanded returns the policy for the domain itself, or for one below the record's.
func (r dmarcRecord) demanded(own bool) string {
	policy := r["p"]
	if below := r["sp"]; !own && below != "" {
		policy = below
	}
	if policy == "" {
		return "none"
	}
	return policy
}

// organizationalDomain returns the organizational domain by the tree walk (RFC 9989 section
// 4.10.2): the domain with psd=n, or the one below psd=y, or else the highest one with a
// record, or the domain itself.
func organizationalDomain(domain string, records map[string]dmarcRecord) string {
	organization, below := domain, domain
	for i, name := range DMARCNames(domain) {
		current := strings.TrimPrefix(name, "_dmarc.")
		switch record := records[name]; {
		case record == nil:
		case record["psd"] == "n":
			return current
		case record["psd"] == "y" && i > 0:
			return below
		default:
			organization = current
		}
		below = current
	}
	return organization
}

// isWithin reports whether a domain is another one or below it.
func isWithin(domain, above string) bool {
	return domain == above || strings.HasSuffix(domain, "."+above)
}
