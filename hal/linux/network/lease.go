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

// Bounds of what a DHCP server can make the box do.
const (
	minLease  = 10 * time.Second // a shorter one is held so long: it would be asked for without end
	maxRenew  = 24 * time.Hour   // a lease for ever is renewed so often all the same
	maxDNS    = 3                // MAXNS of resolv.conf(5)
	maxNTP    = 4
	maxRoutes = 16
	minMTU    = 576 // RFC 791
	maxMTU    = 1500
)

// lease is the valid part of what a server grants.
type lease struct {
	address netip.Prefix
	server  netip.Addr
	gateway netip.Addr // of the default route; zero: none
	routes  []route
	dns     []netip.Addr
	ntp     []string
	life    time.Duration
	renew   time.Duration // T1 of RFC 2131, section 4.4.5
	rebind  time.Duration // T2
	doubt   string        // what was left out of the lease and what to do about it
}

// readLease returns what an offer or an acknowledgement grants. The error says
// why the box cannot use it and what to correct.
func readLease(m *dhcpv4.DHCPv4) (lease, error) {
	l := lease{server: addr(m.ServerIdentifier())}
	if !unicast(l.server) {
		return lease{}, errors.New("a DHCP server does not say its own address (option 54): correct or replace that server")
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
		return lease{}, fmt.Errorf("the DHCP server %s offers what cannot be used, as %w: correct the range of addresses there", l.server, err)
	}
	l.times(m)
	l.names(m)
	l.ways(m)
	return l, nil
}

// times reads the lease's life, T1 and T2 within bounds (RFC 2131, section 4.4.5).
func (l *lease) times(m *dhcpv4.DHCPv4) {
	l.life = max(m.IPAddressLeaseTime(0), minLease)
	l.renew = m.IPAddressRenewalTime(0)
	l.rebind = m.IPAddressRebindingTime(0)
	if l.renew < minLease/2 || l.renew >= l.rebind || l.rebind >= l.life {
		l.renew, l.rebind = l.life/2, l.life/8*7
	}
	l.renew = min(l.renew, maxRenew)
}

func (l *lease) names(m *dhcpv4.DHCPv4) {
	l.dns = hosts(m.DNS(), maxDNS)
	for _, server := range hosts(m.NTPServers(), maxNTP) {
		l.ntp = append(l.ntp, server.String())
	}
}

// hosts returns at most limit of the addresses that another host can have.
func hosts(ips []net.IP, limit int) []netip.Addr {
	var found []netip.Addr
	for _, ip := range ips {
		if host := addr(ip); unicast(host) && len(found) < limit {
			found = append(found, host)
		}
	}
	return found
}

// ways reads the routes: the classless ones, or where there are none the first
// router (RFC 3442).
func (l *lease) ways(m *dhcpv4.DHCPv4) {
	mtu, err := dhcpv4.GetUint16(dhcpv4.OptionInterfaceMTU, m.Options)
	if err != nil || mtu < minMTU || mtu > maxMTU {
		mtu = 0
	}
	offered := m.ClasslessStaticRoute()
	if routers := m.Router(); len(offered) == 0 && len(routers) > 0 {
		offered = []*dhcpv4.Route{{Dest: ipNet(everywhere), Router: routers[0]}}
	}
	for _, way := range offered[:min(len(offered), maxRoutes)] {
		r := route{to: prefixOf(way.Dest).Masked(), via: addr(way.Router), mtu: int(mtu)}
		if err := checkGateway(r.via, l.address); err != nil {
			l.doubt = fmt.Sprintf("The DHCP server %s sent an unusable default route: %v. Correct the router (option 3) and the static routes (option 121) there.", l.server, err)
			continue
		}
		if r.to == everywhere {
			l.gateway = r.via
		}
		l.routes = append(l.routes, r)
	}
	if !l.gateway.IsValid() && l.doubt == "" {
		l.doubt = fmt.Sprintf("The DHCP server %s names no gateway, so that the box does not reach the Internet. Add the router (option 3) there.", l.server)
	}
}

func addr(ip net.IP) netip.Addr {
	found, _ := netip.AddrFromSlice(ip)
	return found.Unmap()
}
