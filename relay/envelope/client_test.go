package envelope

import (
	"net/netip"
	"testing"
)

func TestClientNetwork_IsTheNetworkOfAnIPv6Address(t *testing.T) {
	for client, want := range map[string]string{
		"192.0.2.1": "192.0.2.1/32", "::ffff:192.0.2.1": "192.0.2.1/32",
		"2001:db8::1": "2001:db8::/64", "2001:db8::ffff:1": "2001:db8::/64", "fe80::1%eth0": "fe80::/64",
	} {
		if got := ClientNetwork(netip.MustParseAddr(client)).String(); got != want {
			t.Errorf("%s: got %s, want %s", client, got, want)
		}
	}
}
