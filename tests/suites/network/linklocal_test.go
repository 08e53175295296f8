package networktest

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"sealpost/hal/linux/network"
)

func isLinkLocal(s network.Status) bool {
	return s.Method == network.MethodLinkLocal && hasAddressIn("169.254.0.0/16")(s) && s.Trouble != ""
}

func ipv4Address(t *testing.T, s network.Status) netip.Prefix {
	t.Helper()
	for _, address := range s.Addresses {
		if address.Addr().Is4() {
			return address
		}
	}
	t.Fatalf("no IPv4 address in %+v", s)
	return netip.Prefix{}
}

func TestLinkLocal_IsUsedUntilADHCPServerReplies(t *testing.T) {
	s := newSite(t)
	s.switchOn(network.Config{})
	status := s.await("a link-local address", isLinkLocal)
	if !strings.Contains(status.Trouble, "No DHCP server answers on eth0") || !strings.Contains(status.Trouble, "set a static address") {
		t.Errorf("got trouble %q, want no DHCP server and a cure", status.Trouble)
	}
	s.addAddress("192.168.7.1/24")
	s.dnsmasq("--dhcp-range=192.168.7.50,192.168.7.60,2h", "--dhcp-option=option:dns-server,192.168.7.2")
	status = s.await("a lease", hasLease("192.168.7.0/24"))
	if hasAddressIn("169.254.0.0/16")(status) || status.Trouble != "" {
		t.Errorf("got addresses %v and trouble %q, want only the lease", status.Addresses, status.Trouble)
	}
}

func TestLinkLocal_AvoidsTheAddressOfANeighbour(t *testing.T) {
	s := newSite(t)
	s.switchOn(network.Config{})
	first := ipv4Address(t, s.await("a link-local address", isLinkLocal))
	s.unplug()
	s.await("the loss of the link", func(s network.Status) bool { return !s.Carrier })
	s.addAddress(first.String())
	s.plugIn()
	second := ipv4Address(t, s.await("another link-local address", func(s network.Status) bool { return s.Carrier && isLinkLocal(s) }))
	if first == second {
		t.Errorf("the box uses %s, which its neighbour has", second)
	}
}

func TestInterface_MayAppearLate(t *testing.T) {
	s := newSite(t)
	s.ip("-n", s.box, "link", "del", "eth0")
	s.switchOn(network.Config{Address: netip.MustParsePrefix("10.1.0.9/24")})
	status := s.await("a missing interface", func(s network.Status) bool { return s.Interface == "" })
	if !strings.Contains(status.Trouble, "port was not found") {
		t.Errorf("got trouble %q, want \"port was not found\"", status.Trouble)
	}
	s.connect()
	s.await("the static address", hasAddressIn("10.1.0.0/24"))
}

func TestStaticAddress_IsUsedAndConflictsAreReported(t *testing.T) {
	s := newSite(t)
	s.addAddress("10.1.0.1/24")
	config := network.Config{Address: netip.MustParsePrefix("10.1.0.9/24"), Gateway: netip.MustParseAddr("10.1.0.1"),
		DNS: []netip.Addr{netip.MustParseAddr("10.1.0.2")}, NTP: []string{"time.contoso.com"}}
	s.switchOn(config)
	status := s.await("the static address", func(s network.Status) bool {
		return s.Method == network.MethodStatic && hasAddressIn("10.1.0.9/32")(s)
	})
	if status.Trouble != "" || status.Gateway != config.Gateway || len(status.NTP) != 1 {
		t.Errorf("got status %+v, want gateway %s, one NTP server and no trouble", status, config.Gateway)
	}
	if routes := s.ip("-n", s.box, "route"); !strings.Contains(routes, "default via 10.1.0.1 dev eth0") {
		t.Errorf("got routes %s, want a default route by 10.1.0.1", routes)
	}
	if file, err := os.ReadFile(s.resolvConf); err != nil || !strings.HasPrefix(string(file), "nameserver 10.1.0.2\n") {
		t.Errorf("got resolv.conf %q, %v, want nameserver 10.1.0.2", file, err)
	}

	s.apply(network.Config{Address: config.Address})
	s.await("the missing gateway", func(s network.Status) bool { return strings.Contains(s.Trouble, "name no gateway") })
	if routes := s.ip("-n", s.box, "route"); strings.Contains(routes, "default") {
		t.Errorf("the previous gateway is still in use: %s", routes)
	}

	for _, c := range []struct{ address, gateway, trouble string }{
		{"10.1.0.10/24", "10.1.0.77", "gateway 10.1.0.77 does not answer"},
		{"10.1.0.11/24", "10.2.0.1", "gateway 10.2.0.1 lies outside the box's subnet 10.1.0.0/24"},
		{"10.1.0.1/24", "10.1.0.3", "also has the address 10.1.0.1"},
		{"10.1.0.0/24", "10.1.0.3", "address in the settings cannot be used"},
	} {
		config.Address, config.Gateway = netip.MustParsePrefix(c.address), netip.MustParseAddr(c.gateway)
		s.apply(config)
		s.await(c.trouble, func(s network.Status) bool { return strings.Contains(s.Trouble, c.trouble) })
	}
	s.dnsmasq("--dhcp-range=10.1.0.50,10.1.0.60,2h")
	s.apply(network.Config{})
	s.await("a lease in place of the static address", hasLease("10.1.0.0/24"))
}

func TestIPv6_AddressComesFromTheAnnouncedPrefix(t *testing.T) {
	s := newSite(t)
	s.addAddress("fd00:7::1/64")
	s.dnsmasq("--enable-ra", "--dhcp-range=fd00:7::,ra-only,64")
	s.switchOn(network.Config{Address: netip.MustParsePrefix("10.1.0.9/24")})
	s.await("an address of the announced prefix", hasAddressIn("fd00:7::/64"))
}
