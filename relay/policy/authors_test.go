package policy

import (
	"net/netip"
	"testing"

	"sealpost/relay/envelope"
)

// TestFrom_RestrictsEachOfSeveralAuthors has a user with a sender outside of the accepted
// domains, which senders.from keeps, and an author beside it that the user may not be.
func TestFrom_RestrictsEachOfSeveralAuthors(t *testing.T) {
	p := &Policy{Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, AcceptedDomains: []string{"contoso.com"},
		DefaultSender: "box@contoso.com", Author: Keep}
	c := Client{Address: netip.MustParseAddr("10.0.0.1"), User: &User{Name: "erp", Senders: []Pattern{"erp@contoso.com", "@fabrikam.com"}}}
	for _, authors := range [][]envelope.Address{
		{"a@fabrikam.com", "ceo@contoso.com"}, {"ceo@contoso.com", "a@fabrikam.com"}, {"ceo@contoso.com"}, {"erp@contoso.com", "a@fabrikam.com", "ceo@contoso.com"},
	} {
		if instead, v := p.From(c, "erp@contoso.com", authors); instead != "erp@contoso.com" || v.Rule != "the senders of user erp" {
			t.Errorf("%v: got %q by %q, want erp@contoso.com", authors, instead, v.Rule)
		}
	}
	if instead, v := p.From(c, "erp@contoso.com", []envelope.Address{"erp@contoso.com", "a@fabrikam.com"}); instead != "" || v.Rule != "senders.from" {
		t.Errorf("only what the user may use: got %q by %q, want it kept", instead, v.Rule)
	}
}
