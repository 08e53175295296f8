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
