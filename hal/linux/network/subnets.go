//go:build linux

package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
)

// linkLocal is every link-local IPv6 address (RFC 4291, section 2.4): a link may use
// more of them than the kernel's /64.
var linkLocal = netip.MustParsePrefix("fe80::/10")

// minPrefix4 and minPrefix6 are the shortest prefix lengths of one site: a DHCP server
// that hands out 10.0.0.0/8 describes more than one. In IPv6 a link is a /64.
const minPrefix4, minPrefix6 = 16, 64

// siteOf returns the part of a subnet around its address that is assumed to be one site.
func siteOf(prefix netip.Prefix) netip.Prefix {
	address, bits := prefix.Addr(), minPrefix4
	switch {
	case address.IsLoopback():
		return prefix.Masked()
	case linkLocal.Contains(address):
		return linkLocal
	case address.Is6():
		bits = minPrefix6
	}
	return netip.PrefixFrom(address, max(bits, prefix.Bits())).Masked()
}

// Subnets returns the networks that the machine's own addresses are in, each
// once and in order, including the loopback and link-local networks. Of a large
// network it returns only the part around the address.
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
		subnets = append(subnets, siteOf(prefix))
	}
	slices.SortFunc(subnets, netip.Prefix.Compare)
	return slices.Compact(subnets), nil
}

// WatchSubnets calls changed with [Subnets] at once and after each change,
// one call at a time, until ctx ends, and then returns nil. It needs no privileges.
func WatchSubnets(ctx context.Context, changed func([]netip.Prefix)) error {
	updates, done := make(chan netlink.AddrUpdate), make(chan struct{})
	if err := netlink.AddrSubscribe(updates, done); err != nil {
		return fmt.Errorf("subscribing to the kernel's address changes: %w", err)
	}
	defer func() {
		close(done)
		for range updates { // until the subscription has ended
		}
	}()
	var known []netip.Prefix
	for {
		subnets, err := Subnets()
		if err != nil {
			return err
		}
		if !slices.Equal(subnets, known) {
			known = subnets
			changed(slices.Clone(subnets))
		}
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-updates:
			if !ok {
				return errors.New("the kernel's reports on addresses ended")
			}
		}
	}
}
