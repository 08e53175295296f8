package main

import (
	"net"
	"testing"
)

func TestTheMailHostIsTheMostPreferredOneAndANullMXIsNone(t *testing.T) {
	for _, c := range []struct {
		records []*net.MX
		want    string
	}{
		{nil, ""},
		{[]*net.MX{{Host: "."}}, ""},
		{[]*net.MX{{Host: "Contoso-com.mail.protection.outlook.com.", Pref: 0}, {Host: "filter.example.", Pref: 10}}, "contoso-com.mail.protection.outlook.com"},
	} {
		if got := mailHost(c.records); got != c.want {
			t.Errorf("of %v it is %q, want %q", c.records, got, c.want)
		}
	}
}
