package policy

import (
	"net/netip"
	"testing"

	"sealpost/relay/envelope"
)

func TestMayRelay_AllowsOnlyTheNetworks(t *testing.T) {
	p := Policy{Networks: []netip.Prefix{
		netip.MustParsePrefix("192.168.10.0/24"), netip.MustParsePrefix("fd00:1::/64"), netip.MustParsePrefix("fe80::/10"),
	}}
	for client, want := range map[string]bool{
		"192.168.10.7":        true,
		"::ffff:192.168.10.7": true,
		"fd00:1::5":           true,
		"fe80::5%eth0":        true,
		"192.168.11.7":        false,
		"fd00:2::5":           false,
		"127.0.0.1":           false,
	} {
		if got := p.MayRelay(netip.MustParseAddr(client)); got != want {
			t.Errorf("%s: got %v, want %v", client, got, want)
		}
	}
	if (Policy{}).MayRelay(netip.MustParseAddr("127.0.0.1")) {
		t.Error("policy without networks: got an address allowed, want none")
	}
}

func TestSender_ReplacesForeignSenders(t *testing.T) {
	domains := []string{"contoso.com", "contoso.de"}
	for _, c := range []struct{ defaultSender, sender, want envelope.Address }{
		{"printer@contoso.com", "scanner@contoso.com", "scanner@contoso.com"},
		{"printer@contoso.com", "scanner@Contoso.DE", "scanner@Contoso.DE"},
		{"printer@contoso.com", "root@localhost", "printer@contoso.com"},
		{"printer@contoso.com", "x@sub.contoso.com", "printer@contoso.com"},
		{"printer@contoso.com", "", "printer@contoso.com"},
		{"", "root@localhost", "root@localhost"},
		{"", "", ""},
	} {
		p := Policy{AcceptedDomains: domains, DefaultSender: c.defaultSender}
		if got := p.Sender(c.sender); got != c.want {
			t.Errorf("%q with default %q: got %q, want %q", c.sender, c.defaultSender, got, c.want)
		}
	}
}
