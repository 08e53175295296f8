//go:build linux

package network

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// port is an Ethernet port of the kernel; its zero value is none.
type port struct {
	index int
	name  string
	mac   net.HardwareAddr
}

// cable is the state of a port's link.
type cable struct {
	in     bool
	losses string // the kernel's count of lost links: it also shows a loss that has ended
}

// route leads to a network by a gateway.
type route struct {
	to  netip.Prefix
	via netip.Addr
	mtu int // octets; 0: the link's
}

// sysClassNet is where the kernel shows the interfaces of the reader's namespace.
const sysClassNet = "/sys/class/net"

// find returns the port of that name, or the first wired one if name is
// empty, and its cable. The port is zero if there is none.
func find(name string) (port, cable, error) {
	links, err := readList(netlink.LinkList)
	if err != nil {
		return port{}, cable{}, fmt.Errorf("listing the network interfaces: %w", err)
	}
	slices.SortFunc(links, func(a, b netlink.Link) int { return a.Attrs().Index - b.Attrs().Index })
	interfaces := os.DirFS(sysClassNet)
	for _, link := range links {
		attributes := link.Attrs()
		if attributes.Name == name || name == "" && wired(interfaces, attributes.Name) {
			// Without the kernel's count, a loss is noticed only while it lasts.
			losses, _ := fs.ReadFile(interfaces, attributes.Name+"/carrier_down_count")
			return port{index: attributes.Index, name: attributes.Name, mac: attributes.HardwareAddr},
				cable{in: attributes.RawFlags&unix.IFF_LOWER_UP != 0, losses: string(losses)}, nil
		}
	}
	return port{}, cable{}, nil
}

// wired reports whether an interface is an Ethernet device and not a wireless one.
func wired(interfaces fs.FS, name string) bool {
	const ethernet = "1\n" // ARPHRD_ETHER
	kind, err := fs.ReadFile(interfaces, name+"/type")
	if err != nil || !bytes.Equal(kind, []byte(ethernet)) {
		return false
	}
	has := func(part string) bool {
		_, err := fs.Stat(interfaces, name+"/"+part)
		return err == nil
	}
	return has("device") && !has("wireless") && !has("phy80211")
}

func bringUp(name string) error {
	link, err := netlink.LinkByName(name)
	if err == nil {
		err = netlink.LinkSetUp(link)
	}
	if err != nil {
		return fmt.Errorf("bringing up %s: %w", name, err)
	}
	return nil
}

// bringUp brings the port up, with IPv6 addresses by SLAAC (RFC 4862), and
// with ARP announcements of new addresses, which update the ARP caches of other hosts.
func (p port) bringUp() error {
	for _, knob := range []struct{ path, value string }{
		{"ipv4/conf/" + p.name + "/arp_notify", "1"},
		{"ipv6/conf/" + p.name + "/disable_ipv6", "0"},
		{"ipv6/conf/" + p.name + "/accept_ra", "1"},
		{"ipv6/conf/" + p.name + "/autoconf", "1"},
	} {
		err := os.WriteFile(filepath.Join("/proc/sys/net", knob.path), []byte(knob.value), 0)
		// A kernel without IPv6 has no such files.
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("setting %s: %w", knob.path, err)
		}
	}
	return bringUp(p.name)
}

// addresses returns the port's addresses that are ready for use.
func (p port) addresses() ([]netip.Prefix, error) {
	list, err := p.list(netlink.FAMILY_ALL)
	if err != nil {
		return nil, err
	}
	const unready = unix.IFA_F_TENTATIVE | unix.IFA_F_DADFAILED
	var found []netip.Prefix
	for _, address := range list {
		if address.Flags&unready == 0 {
			found = append(found, prefixOf(address.IPNet))
		}
	}
	return found, nil
}

func (p port) list(family int) ([]netlink.Addr, error) {
	link := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: p.index, Name: p.name}}
	list, err := readList(func() ([]netlink.Addr, error) { return netlink.AddrList(link, family) })
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return nil, fmt.Errorf("listing the addresses of %s: %w", p.name, err)
	}
	return list, nil
}

// configure makes address the only IPv4 address of the port, and routes its only
// routes beside those that the kernel adds. A zero address removes all.
func (p port) configure(address netip.Prefix, routes ...route) error {
	link := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: p.index, Name: p.name}}
	existing, err := p.list(netlink.FAMILY_V4)
	if err != nil {
		return err
	}
	present := false
	for _, old := range existing {
		if prefixOf(old.IPNet) == address {
			present = true
		} else if err := netlink.AddrDel(link, &old); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return fmt.Errorf("removing the address %s from %s: %w", old.IPNet, p.name, err)
		}
	}
	if address.IsValid() && !present {
		added := &netlink.Addr{IPNet: ipNet(address)}
		if address.Addr().IsLinkLocalUnicast() {
			added.Scope = unix.RT_SCOPE_LINK
		}
		if err := netlink.AddrReplace(link, added); err != nil {
			return fmt.Errorf("giving %s the address %s: %w", p.name, address, err)
		}
	}
	return p.setRoutes(routes)
}

func (p port) setRoutes(routes []route) error {
	existing, err := readList(func() ([]netlink.Route, error) {
		return netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{LinkIndex: p.index}, netlink.RT_FILTER_OIF)
	})
	if err != nil {
		return fmt.Errorf("listing the routes of %s: %w", p.name, err)
	}
	for _, old := range existing {
		keep := slices.ContainsFunc(routes, func(r route) bool { return r.to == destination(old) })
		if keep || old.Protocol == unix.RTPROT_KERNEL {
			continue
		}
		if err := netlink.RouteDel(&old); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("removing the route to %s: %w", destination(old), err)
		}
	}
	for _, r := range routes {
		added := &netlink.Route{LinkIndex: p.index, Dst: ipNet(r.to), Gw: r.via.AsSlice(), MTU: r.mtu, Protocol: unix.RTPROT_DHCP}
		if err := netlink.RouteReplace(added); err != nil {
			return fmt.Errorf("setting the route to %s by %s: %w", r.to, r.via, err)
		}
	}
	return nil
}

// readList reads a list from the kernel, and repeats this if the list changed meanwhile.
func readList[T any](list func() ([]T, error)) ([]T, error) {
	const attempts = 5
	var found []T
	var err error
	for range attempts {
		if found, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return found, err
}

var anyDestination = netip.PrefixFrom(netip.IPv4Unspecified(), 0)

func destination(r netlink.Route) netip.Prefix {
	if r.Dst == nil {
		return anyDestination
	}
	return prefixOf(r.Dst)
}

func prefixOf(n *net.IPNet) netip.Prefix {
	address, _ := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(address.Unmap(), ones)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
