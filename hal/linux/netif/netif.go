// Package netif knows the machine's network interfaces.
//
// It must not know what the networks are used for.
package netif

import (
	"fmt"
	"net"
	"net/netip"
)

// Subnets gives the networks that the machine's own addresses lie in, the
// loopback network included.
func Subnets() ([]netip.Prefix, error) {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("reading the addresses of the network interfaces: %w", err)
	}
	var subnets []netip.Prefix
	for _, address := range addresses {
		prefix, err := netip.ParsePrefix(address.String())
		if err != nil {
			return nil, fmt.Errorf("reading the interface address %s: %w", address, err)
		}
		subnets = append(subnets, prefix.Masked())
	}
	return subnets, nil
}
