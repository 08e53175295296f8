package mtasts

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestParse_ReadsPolicies(t *testing.T) {
	const good = "version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.EXAMPLE.net.\r\nmax_age: 604800\r\n"
	for _, c := range []struct {
		name, text string
		want       Policy
		fails      string
	}{
		{"of RFC 8461", good, Policy{Enforce, []string{"mail.example.com", "*.example.net"}, 7 * 24 * time.Hour}, ""},
		{"with LF", strings.ReplaceAll(good, "\r\n", "\n"), Policy{Enforce, []string{"mail.example.com", "*.example.net"}, 7 * 24 * time.Hour}, ""},
		{"without a final line end", strings.TrimSpace(good), Policy{Enforce, []string{"mail.example.com", "*.example.net"}, 7 * 24 * time.Hour}, ""},
		{"with unknown keys", good + "future: x\n:\nnonsense\n", Policy{Enforce, []string{"mail.example.com", "*.example.net"}, 7 * 24 * time.Hour}, ""},
		{"none", "version: STSv1\nmode: none\nmax_age: 0\n", Policy{Mode: None}, ""},
		{"longer than a year", "version: STSv1\nmode: none\nmax_age: 2000000000\n", Policy{Mode: None, MaxAge: maxAge}, ""},
		{"a second mode", good + "mode: none\n", Policy{Enforce, []string{"mail.example.com", "*.example.net"}, 7 * 24 * time.Hour}, ""},
		{"empty", "", Policy{}, "version"},
		{"another version", strings.Replace(good, "STSv1", "STSv2", 1), Policy{}, "version"},
		{"another mode", strings.Replace(good, "enforce", "maybe", 1), Policy{}, "mode"},
		{"no max_age", "version: STSv1\nmode: none\n", Policy{}, "max_age"},
		{"a negative max_age", "version: STSv1\nmode: none\nmax_age: -1\n", Policy{}, "max_age"},
		{"no host", "version: STSv1\nmode: enforce\nmax_age: 1\n", Policy{}, "mail host"},
		{"too long", good + strings.Repeat("x", maxPolicy), Policy{}, "octets"},
		{"HTML", "<!DOCTYPE html><p>Welcome", Policy{}, "version"},
	} {
		got, err := Parse([]byte(c.text))
		if c.fails != "" {
			if err == nil || !strings.Contains(err.Error(), c.fails) {
				t.Errorf("%s: got %v, want an error with %q", c.name, err, c.fails)
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %+v, %v, want %+v", c.name, got, err, c.want)
		}
	}
}

func TestPolicy_MatchesHosts(t *testing.T) {
	p := Policy{MX: []string{"mail.example.com", "*.example.net"}}
	for host, want := range map[string]bool{
		"mail.example.com": true, "MAIL.example.com.": true, "mx1.example.net": true,
		"example.net": false, "a.b.example.net": false, "other.example.com": false, "": false, "net": false, "*.example.net": true,
	} {
		if got := p.Matches(host); got != want {
			t.Errorf("%q: got %v, want %v", host, got, want)
		}
	}
}

func TestParseRecord_FindsTheID(t *testing.T) {
	for _, c := range []struct {
		records []string
		want    string
	}{
		{[]string{"v=STSv1; id=20160831085700Z;"}, "20160831085700Z"},
		{[]string{"v=STSv1;id=1"}, "1"},
		{[]string{"v=spf1 -all", "v=STSv1; id=1;", "x"}, "1"},
		{[]string{"v=STSv1; id=1;", "v=STSv1; id=2;"}, ""},
		{[]string{"v=STSv10; id=1;"}, ""},
		{[]string{"v=STSv1; id=a-b;"}, ""},
		{[]string{"v=STSv1; id=" + strings.Repeat("1", 33)}, ""},
		{[]string{"v=STSv1;"}, ""},
		{nil, ""},
	} {
		if got := parseRecord(c.records); got != c.want {
			t.Errorf("%q: got %q, want %q", c.records, got, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("version: STSv1\r\nmode: enforce\r\nmx: *.example.com\r\nmax_age: 604800\r\n"), "mx.example.com")
	f.Fuzz(func(t *testing.T, text []byte, host string) {
		p, err := Parse(text)
		if err != nil {
			if !reflect.DeepEqual(p, Policy{}) {
				t.Errorf("got %+v with %v", p, err)
			}
			return
		}
		if p.Mode != None && len(p.MX) == 0 || len(p.MX) > maxMX || p.MaxAge < 0 || p.MaxAge > maxAge {
			t.Errorf("got %+v", p)
		}
		// A host that matches has as many labels as the pattern that it matches.
		if p.Matches(host) {
			labels := func(name string) int { return strings.Count(strings.TrimSuffix(name, "."), ".") }
			found := false
			for _, pattern := range p.MX {
				found = found || labels(pattern) == labels(host)
			}
			if !found {
				t.Errorf("%q matches %q", host, p.MX)
			}
		}
	})
}

func FuzzRecord(f *testing.F) {
	f.Add("v=STSv1; id=20160831085700Z;", "v=spf1 -all")
	f.Fuzz(func(t *testing.T, a, b string) {
		if id := parseRecord([]string{a, b}); len(id) > 32 || id != "" && !strings.Contains(a+b, id) {
			t.Errorf("got %q", id)
		}
	})
}
