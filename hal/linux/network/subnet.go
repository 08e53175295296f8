//go:build linux

package network

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// Lengths a subnet with hosts and a router can have.
const minBits, maxBits = 8, 30

// checkHost returns an error if no host can have this IPv4 address.
func checkHost(address netip.Prefix) error {
	host := address.Addr()
	switch {
	case !host.Is4():
		return fmt.Errorf("%s is no IPv4 address", host)
	case !unicast(host):
		return fmt.Errorf("no host can have the address %s", host)
	case host.IsLinkLocalUnicast():
		return fmt.Errorf("%s is a link-local address", host)
	case address.Bits() < minBits || address.Bits() > maxBits:
		return fmt.Errorf("the subnet length /%d of %s is not between /%d and /%d", address.Bits(), host, minBits, maxBits)
	case host == address.Masked().Addr() || host == broadcast(address):
		return fmt.Errorf("%s is the address of the subnet %s itself, or its broadcast address", host, address.Masked())
	}
	return nil
}

// checkGateway returns an error if gateway cannot be the gateway of address.
func checkGateway(gateway netip.Addr, address netip.Prefix) error {
	switch {
	case !address.Contains(gateway):
		return fmt.Errorf("the gateway %s lies outside the box's subnet %s", gateway, address.Masked())
	case gateway == address.Addr():
		return fmt.Errorf("the gateway %s is the box's own address", gateway)
	case gateway == address.Masked().Addr() || gateway == broadcast(address):
		return fmt.Errorf("the gateway %s is the address of the subnet %s itself, or its broadcast address", gateway, address.Masked())
	}
	return nil
}

// unicast reports whether another host can have this IPv4 address (RFC 6890).
func unicast(a netip.Addr) bool {
	if !a.Is4() || a.IsLoopback() || a.IsMulticast() {
		return false
	}
	first := a.As4()[0]
	return first != 0 && first < 240
}

// broadcast returns the highest address of an IPv4 subnet.
func broadcast(p netip.Prefix) netip.Addr {
	first := p.Masked().Addr().As4()
	all := binary.BigEndian.Uint32(first[:]) | uint32(uint64(1)<<(32-p.Bits())-1)
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, all)))
}
