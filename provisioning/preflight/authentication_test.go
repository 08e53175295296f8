package preflight

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"sealpost/hal/fault"
	"sealpost/provisioning/certificate"
)

// expect compares findings with what they must contain, as "level: text".
func expect(t *testing.T, name string, got []Finding, want ...string) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: got %v, want %q", name, got, want)
		return
	}
	for i, f := range got {
		level, text, _ := strings.Cut(want[i], ": ")
		if string(f.Level) != level || !strings.Contains(f.Text, text) {
			t.Errorf("%s: got %v, want %s", name, f, want[i])
		}
	}
}

func TestDKIM_SaysWhatIsNotSignedOrPublished(t *testing.T) {
	both := []string{"contoso.com", "fabrikam.com"}
	for name, c := range map[string]struct {
		facts DKIMFacts
		want  []string
	}{
		"no keys":           {DKIMFacts{}, []string{"note: no keys yet"}},
		"not published":     {DKIMFacts{Next: "s-1a"}, []string{"note: not published yet: mail is sent without a signature until the keys s-1a are"}},
		"published":         {DKIMFacts{Active: "s-1a", Domains: both}, []string{"ok: mail from contoso.com, fabrikam.com is signed by s-1a"}},
		"a record is gone":  {DKIMFacts{Active: "s-1a", Domains: both, Missing: []string{"x is not published"}}, []string{"problem: receivers cannot verify the signatures: x is not published"}},
		"an unknown record": {DKIMFacts{Active: "s-1a", Domains: both, Unknown: []string{"x cannot be looked up: timeout"}}, []string{"note: mail is signed by s-1a: x cannot be looked up: timeout"}},
		"a domain is new":   {DKIMFacts{Active: "s-1a", Domains: both[:1], Unsigned: both[1:]}, []string{"ok: contoso.com", "note: mail from fabrikam.com is sent without a signature"}},
		"a rotation is on":  {DKIMFacts{Active: "s-1a", Next: "s-2a", Domains: both}, []string{"ok: s-1a", "note: the next keys s-2a"}},
		"all is not signed": {DKIMFacts{Active: "s-1a", Unsigned: both}, []string{"note: mail from contoso.com, fabrikam.com is sent without"}},
	} {
		expect(t, name, DKIM(c.facts), c.want...)
	}
	if f := DKIM(DKIMFacts{}); f[0].Code != fault.NoDKIMKeys {
		t.Errorf("got code %q", f[0].Code)
	}
}

func TestReverseDNS_DemandsAConfirmedName(t *testing.T) {
	address := netip.MustParseAddr("203.0.113.5")
	failing := errors.New("timeout")
	for name, c := range map[string]struct {
		addresses []Address
		err       error
		want      string
	}{
		"no address":    {nil, nil, "problem: mail.contoso.com, by which the box introduces itself, has no public address"},
		"not looked up": {nil, failing, "problem: failed: timeout"},
		"no name":       {[]Address{{Addr: address}}, nil, "problem: 203.0.113.5 has no name in reverse DNS"},
		"unknown name":  {[]Address{{Addr: address, Err: failing}}, nil, "note: looking up the name of 203.0.113.5 failed: timeout"},
		"another name":  {[]Address{{Addr: address, Names: []string{"a.isp.example"}}}, nil, "problem: is a.isp.example, which does not resolve"},
		"confirmed":     {[]Address{{Addr: address, Names: []string{"a.isp.example"}, Confirmed: true}}, nil, "ok: 203.0.113.5 is a.isp.example"},
	} {
		expect(t, name, ReverseDNS("mail.contoso.com", c.addresses, c.err), c.want)
	}
}

func TestSPF_SaysWhatToPublish(t *testing.T) {
	v4, v6 := netip.MustParseAddr("203.0.113.5"), netip.MustParseAddr("2001:db8::5")
	for result, want := range map[string]string{
		"pass":      "ok: contoso.com permits 203.0.113.5",
		"none":      `problem: publish a TXT record such as "v=spf1 ip4:203.0.113.5 -all"`,
		"neutral":   "problem: (neutral): add ip4:203.0.113.5 to it",
		"softfail":  "problem: (softfail): add",
		"fail":      "problem: does not permit 203.0.113.5 (fail): add ip4:203.0.113.5 to it",
		"temperror": "note: could not be looked up: why",
		"permerror": "problem: is invalid, and receivers may reject its mail: why",
	} {
		expect(t, result, SPF("contoso.com", v4, result, errors.New("why")), want)
	}
	expect(t, "IPv6", SPF("contoso.com", v6, "fail", nil), "problem: add ip6:2001:db8::5 to it")
}

func TestPort25_IsOpenOrNot(t *testing.T) {
	expect(t, "open", Port25("mx.contoso.com", 25, nil), "ok: mx.contoso.com can be reached on port 25")
	expect(t, "closed", Port25("mx.contoso.com", 25, errors.New("timeout")), "note: cannot be reached on port 25: timeout")
}

func TestDMARCNames_WalksUpInEightSteps(t *testing.T) {
	for domain, want := range map[string]string{
		"Contoso.com.":          "contoso.com com",
		"a.b.contoso.co.uk":     "a.b.contoso.co.uk b.contoso.co.uk contoso.co.uk co.uk uk",
		"com":                   "com",
		"a.b.c.d.e.f.g.h":       "a.b.c.d.e.f.g.h b.c.d.e.f.g.h c.d.e.f.g.h d.e.f.g.h e.f.g.h f.g.h g.h h",
		"a.b.c.d.e.f.g.h.i.j.k": "a.b.c.d.e.f.g.h.i.j.k e.f.g.h.i.j.k f.g.h.i.j.k g.h.i.j.k h.i.j.k i.j.k j.k k", // RFC 9989 section 4.10
	} {
		names := DMARCNames(domain)
		if got := strings.ReplaceAll(strings.Join(names, " "), "_dmarc.", ""); got != want || len(names) > 8 {
			t.Errorf("%s: got %s, want %s", domain, got, want)
		}
	}
}

func TestDMARC_FindsThePolicyAndWhetherMailPasses(t *testing.T) {
	const reject = "v=DMARC1; p=reject"
	for name, c := range map[string]struct {
		facts DMARCFacts
		texts map[string]string // by domain
		want  string
	}{
		"no record":            {DMARCFacts{Domain: "contoso.com"}, nil, "note: contoso.com has no DMARC record"},
		"not looked up":        {DMARCFacts{Domain: "contoso.com", Err: errors.New("timeout")}, nil, "note: could not be looked up: timeout"},
		"another record":       {DMARCFacts{Domain: "contoso.com"}, map[string]string{"contoso.com": "v=DMARC2; p=none"}, "note: has no DMARC record"},
		"signed":               {DMARCFacts{Domain: "contoso.com", Signer: "contoso.com"}, map[string]string{"contoso.com": reject}, "ok: mail from contoso.com passes; the policy at contoso.com is reject"},
		"SPF":                  {DMARCFacts{Domain: "contoso.com", SPF: true}, map[string]string{"contoso.com": "v = DMARC1 ; p = Quarantine ;"}, "ok: is quarantine"},
		"neither":              {DMARCFacts{Domain: "contoso.com"}, map[string]string{"contoso.com": reject}, "problem: mail from contoso.com does not pass"},
		"neither, and no harm": {DMARCFacts{Domain: "contoso.com"}, map[string]string{"contoso.com": "v=DMARC1; rua=mailto:x@y"}, "note: mail from contoso.com does not pass"},
		"from above":           {DMARCFacts{Domain: "a.contoso.com", Signer: "contoso.com"}, map[string]string{"contoso.com": "v=DMARC1; p=none; sp=reject"}, "ok: the policy at contoso.com is reject"},
		"strict":               {DMARCFacts{Domain: "a.contoso.com", Signer: "contoso.com"}, map[string]string{"contoso.com": "v=DMARC1; p=reject; adkim=s"}, "problem: mail from a.contoso.com does not pass"},
		"an organization":      {DMARCFacts{Domain: "a.b.contoso.com", Signer: "contoso.com"}, map[string]string{"b.contoso.com": "v=DMARC1; p=reject; psd=n", "contoso.com": reject}, "problem: its policy at b.contoso.com is reject"},
		"below a suffix":       {DMARCFacts{Domain: "a.contoso.bank", Signer: "contoso.bank"}, map[string]string{"bank": "v=DMARC1; p=reject; psd=y", "a.contoso.bank": reject}, "ok: the policy at a.contoso.bank"},
		"unknown policy":       {DMARCFacts{Domain: "contoso.com"}, map[string]string{"contoso.com": "v=DMARC1; p=delete"}, `problem: has the policy "delete"`},
	} {
		c.facts.Texts = make(map[string][]string)
		for domain, text := range c.texts {
			c.facts.Texts["_dmarc."+domain] = []string{"x", text}
		}
		expect(t, name, DMARC(c.facts), c.want)
	}
	twice := DMARCFacts{Domain: "contoso.com", Texts: map[string][]string{"_dmarc.contoso.com": {reject, reject}}}
	expect(t, "two records", DMARC(twice), "problem: _dmarc.contoso.com has several DMARC records")
}

// FuzzDMARC checks any record: there is one finding, and a domain that signs for itself
// passes unless the record is wrong.
func FuzzDMARC(f *testing.F) {
	f.Add("a.contoso.com", "v=DMARC1; p=reject; sp=none; adkim=s; psd=y")
	f.Add("contoso.com", "v=DMARC1;;=;p==")
	f.Fuzz(func(t *testing.T, domain, text string) {
		names := DMARCNames(domain)
		if len(names) == 0 || len(names) > 8 {
			t.Fatalf("got %d names", len(names))
		}
		domain = strings.TrimPrefix(names[0], "_dmarc.")
		facts := DMARCFacts{Domain: domain, Signer: domain, Texts: map[string][]string{names[len(names)-1]: {text}}}
		found := DMARC(facts)
		if len(found) != 1 || found[0].Level == certificate.Problem && !slices.ContainsFunc([]string{"several", "does not exist"}, func(s string) bool { return strings.Contains(found[0].Text, s) }) {
			t.Errorf("got %v", found)
		}
	})
}
