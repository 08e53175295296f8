//go:build linux

package network

import (
	"net/netip"
	"slices"
	"testing"
)

func TestSubnets_IncludesTheLoopbackNetwork(t *testing.T) {
	subnets, err := Subnets()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(subnets, netip.MustParsePrefix("127.0.0.0/8")) {
		t.Errorf("found %v", subnets)
	}
}

func TestSite_IsAtMostTheNetworkAroundTheAddress(t *testing.T) {
	for address, want := range map[string]string{
		"192.168.10.25/24": "192.168.10.0/24", "10.1.2.3/8": "10.1.0.0/16", "10.1.2.3/16": "10.1.0.0/16",
		"203.0.113.7/32": "203.0.113.7/32", "127.0.0.1/8": "127.0.0.0/8", "fe80::1/64": "fe80::/10",
		"2001:db8:1:2::3/48": "2001:db8:1:2::/64", "fd00::1/64": "fd00::/64",
	} {
		if got := siteOf(netip.MustParsePrefix(address)).String(); got != want {
			t.Errorf("%s: got %s, want %s", address, got, want)
		}
	}
}
