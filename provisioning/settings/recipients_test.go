package settings

import (
	"slices"
	"strings"
	"testing"
)

const byDomain = `[senders]
accepted_domains = ["contoso.com", "contoso.co.uk"]
[upstream]
method = ["connector", "submission", "direct"]
[upstream.submission]
user = "relay@contoso.com"
[upstream.oauth]
client_id = "8b2f1c6e-0d3a-4a55-9b1f-2f0c7f1f9a10"
[[upstream.recipients]]
domain = "own"
method = "connector"
[[upstream.recipients]]
domain = "Fabrikam.com"
method = ["submission", "connector"]
[[upstream.recipients]]
domain = "*"
method = "direct"
`

func TestMethodsFor_FollowsTheDomain(t *testing.T) {
	s, err := Parse([]byte(byDomain))
	if err != nil {
		t.Fatal(err)
	}
	for domain, want := range map[string]Methods{
		"contoso.com": {MethodConnector}, "contoso.co.uk": {MethodConnector}, "fabrikam.com": {MethodSubmission, MethodConnector},
		"sub.fabrikam.com": {MethodDirect}, "other.com": {MethodDirect}, "": {MethodDirect},
	} {
		if got := s.MethodsFor(domain); !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", domain, got, want)
		}
	}
	s.Upstream.Recipients = s.Upstream.Recipients[:1]
	if got := s.MethodsFor("other.com"); !slices.Equal(got, s.Upstream.Method) {
		t.Errorf("a domain that no table names: got %v, want all methods", got)
	}
}

func TestRecipientMethods_AreChecked(t *testing.T) {
	for _, c := range []struct{ change, to, want string }{
		{`method = "direct"`, `method = "pigeon"`, `"pigeon" is not a delivery method`},
		{`method = ["connector", "submission", "direct"]`, `method = ["connector", "submission"]`, `upstream.recipients[3].method names "direct", which is not in upstream.method`},
		{`domain = "*"`, `domain = "own"`, "upstream.recipients[3].domain is own, as in a table above"},
		{`domain = "*"`, `domain = ""`, "upstream.recipients[3].domain"},
		{`domain = "*"`, `domain = "@contoso.com"`, `"@contoso.com" is not a domain`},
		{`method = "direct"`, `method = []`, "upstream.recipients[3].method is empty"},
	} {
		_, err := Parse([]byte(strings.Replace(byDomain, c.change, c.to, 1)))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.to, err, c.want)
		}
	}
}
