package queue

import (
	"net/netip"
	"testing"
)

func TestClientOf_CountsTheNetworkOfAnIPv6Address(t *testing.T) {
	of := func(address string) uint64 { return ClientOf(netip.MustParseAddr(address)) }
	if of("2001:db8::1") != of("2001:db8::2:1") || of("2001:db8::1") == of("2001:db8:0:1::1") {
		t.Error("IPv6: got different clients in one /64, or one client in two")
	}
	if of("192.0.2.1") == of("192.0.2.2") || of("192.0.2.1") != of("::ffff:192.0.2.1") {
		t.Error("IPv4: got one client for two addresses, or two for one")
	}
}
