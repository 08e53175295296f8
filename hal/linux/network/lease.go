//go:build linux

package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// Limits on what a DHCP server can set.
const (
	minLease  = 10 * time.Second // a shorter lease counts as this long, so that it is not renewed all the time
	maxRenew  = 24 * time.Hour   // an infinite lease is renewed at this interval
	maxDNS    = 3                // MAXNS of resolv.conf(5)
	maxNTP    = 4
	maxRoutes = 16
	minMTU    = 576 // RFC 791
	maxMTU    = 1500
)

// lease is the valid part of what a server grants.
type lease struct {
	address  netip.Prefix
	server   netip.Addr
	gateway  netip.Addr // of the default route; zero: none
	routes   []route
	dns      []netip.Addr
	ntp      []string
	lifetime time.Duration
	renew    time.Duration // T1 of RFC 2131, section 4.4.5
	rebind   time.Duration // T2
	warning  string        // what was ignored in the lease, and what to do about it
}

// readLease returns what an offer or an acknowledgement grants. The error says
// why the box cannot use it and what to correct.
func readLease(m *dhcpv4.DHCPv4) (lease, error) {
	l := lease{server: addr(m.ServerIdentifier())}
	if !unicast(l.server) {
		return lease{}, errors.New("a DHCP server does not send its own address (option 54): correct or replace that server")
	}
	mask := m.SubnetMask()
	if mask == nil {
		return lease{}, fmt.Errorf("the DHCP server %s names no subnet mask (option 1): add it there", l.server)
	}
	bits, size := mask.Size()
	if size != 32 {
		return lease{}, fmt.Errorf("the DHCP server %s names %s, which is no subnet mask (option 1): correct it there", l.server, net.IP(mask))
	}
	l.address = netip.PrefixFrom(addr(m.YourIPAddr), bits)
	if err := checkHost(l.address); err != nil {
		return lease{}, fmt.Errorf("the DHCP server %s offers an unusable address: %w: correct the range of addresses there", l.server, err)
	}
	l.readTimes(m)
	l.readServers(m)
	l.readRoutes(m)
	return l, nil
}

// readTimes reads the lease time, T1 and T2 within limits (RFC 2131, section 4.4.5).
func (l *lease) readTimes(m *dhcpv4.DHCPv4) {
	l.lifetime = max(m.IPAddressLeaseTime(0), minLease)
	l.renew = m.IPAddressRenewalTime(0)
	l.rebind = m.IPAddressRebindingTime(0)
	if l.renew < minLease/2 || l.renew >= l.rebind || l.rebind >= l.lifetime {
		l.renew, l.rebind = l.lifetime/2, l.lifetime/8*7
	}
	l.renew = min(l.renew, maxRenew)
}

func (l *lease) readServers(m *dhcpv4.DHCPv4) {
	l.dns = hosts(m.DNS(), maxDNS)
	for _, server := range hosts(m.NTPServers(), maxNTP) {
		l.ntp = append(l.ntp, server.String())
	}
}

// hosts returns the addresses that another host can have, at most limit.
func hosts(ips []net.IP, limit int) []netip.Addr {
	var found []netip.Addr
	for _, ip := range ips {
		if host := addr(ip); unicast(host) && len(found) < limit {
			found = append(found, host)
		}
	}
	return found
}

// readRoutes reads the classless static routes, or without any the first router
// (RFC 3442).
func (l *lease) readRoutes(m *dhcpv4.DHCPv4) {
	mtu, err := dhcpv4.GetUint16(dhcpv4.OptionInterfaceMTU, m.Options)
	if err != nil || mtu < minMTU || mtu > maxMTU {
		mtu = 0
	}
	offered := m.ClasslessStaticRoute()
	if routers := m.Router(); len(offered) == 0 && len(routers) > 0 {
		offered = []*dhcpv4.Route{{Dest: ipNet(anyDestination), Router: routers[0]}}
	}
	for _, sent := range offered[:min(len(offered), maxRoutes)] {
		r := route{to: prefixOf(sent.Dest).Masked(), via: addr(sent.Router), mtu: int(mtu)}
		if err := checkGateway(r.via, l.address); err != nil {
			l.warning = fmt.Sprintf("The DHCP server %s sent an unusable default route: %v. Correct the router (option 3) and the static routes (option 121) there.", l.server, err)
			continue
		}
		if r.to == anyDestination {
			l.gateway = r.via
		}
		l.routes = append(l.routes, r)
	}
	if !l.gateway.IsValid() && l.warning == "" {
		l.warning = fmt.Sprintf("The DHCP server %s names no gateway, so that the box does not reach the Internet. Add the router (option 3) there.", l.server)
	}
}

func addr(ip net.IP) netip.Addr {
	found, _ := netip.AddrFromSlice(ip)
	return found.Unmap()
}
