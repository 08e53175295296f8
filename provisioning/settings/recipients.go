package settings

import (
	"fmt"
	"slices"
)

// RecipientMethods says by which delivery methods mail to some recipients leaves.
type RecipientMethods struct {
	// Domain is the recipients' domain; "own" for the accepted domains, "*" for every
	// domain that no other table names. Required.
	Domain RecipientDomain `toml:"domain"`
	// Method lists those of upstream.method that may be used; their order is that of
	// upstream.method. Required.
	Method Methods `toml:"method"`
}

// RecipientDomain is a domain, "own" or "*".
type RecipientDomain string

// Special values of RecipientDomain.
const (
	DomainsOwn RecipientDomain = "own"
	DomainsAny RecipientDomain = "*"
)

// UnmarshalText accepts a domain, "own" and "*".
func (r *RecipientDomain) UnmarshalText(text []byte) error {
	if *r = RecipientDomain(text); *r == DomainsOwn || *r == DomainsAny {
		return nil
	}
	var d Domain
	if err := d.UnmarshalText(text); err != nil {
		return fmt.Errorf("%q is not a domain: write it like \"contoso.com\", \"own\" for senders.accepted_domains, or \"*\" for all others", text)
	}
	*r = RecipientDomain(d)
	return nil
}

// MethodsFor returns the methods by which mail to a domain, in lower case, may leave.
func (s Settings) MethodsFor(domain string) Methods {
	tables := s.Upstream.Recipients
	own := slices.Contains(s.AcceptedDomains(), Domain(domain))
	for _, name := range []RecipientDomain{RecipientDomain(domain), DomainsOwn, DomainsAny} {
		if name == DomainsOwn && !own {
			continue
		}
		if i := slices.IndexFunc(tables, func(r RecipientMethods) bool { return r.Domain == name }); i >= 0 {
			return tables[i].Method
		}
	}
	return s.Upstream.Method
}

// checkRecipientMethods checks that the tables name methods that are used.
func (s Settings) checkRecipientMethods(fault func(key, format string, args ...any)) {
	for i, r := range s.Upstream.Recipients {
		key := fmt.Sprintf("upstream.recipients[%d]", i+1)
		if r.Domain == "" {
			fault(key+".domain", "is empty: name the domain of the recipients, \"own\" or \"*\"")
		}
		if r.Domain != "" && slices.ContainsFunc(s.Upstream.Recipients[:i], func(other RecipientMethods) bool { return other.Domain == r.Domain }) {
			fault(key+".domain", "is %s, as in a table above: leave out one of them", r.Domain)
		}
		if len(r.Method) == 0 {
			fault(key+".method", "is empty: name one or several of upstream.method")
		}
		for _, m := range r.Method {
			if !slices.Contains(s.Upstream.Method, m) {
				fault(key+".method", "names %q, which is not in upstream.method: add it there", m)
			}
		}
	}
}
