package networktest

import (
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"sealpost/hal/linux/network"
)

func leased(subnet string) func(network.Status) bool {
	return func(s network.Status) bool { return s.Method == network.MethodDHCP && within(subnet)(s) }
}

func within(subnet string) func(network.Status) bool {
	return func(s network.Status) bool {
		return slices.ContainsFunc(s.Addresses, func(a netip.Prefix) bool { return netip.MustParsePrefix(subnet).Contains(a.Addr()) })
	}
}

func TestLease_BringsEverySetting(t *testing.T) {
	s := newSite(t)
	s.address("192.168.7.1/24")
	s.dnsmasq("--dhcp-range=192.168.7.50,192.168.7.60,2h", "--dhcp-option=option:dns-server,192.168.7.2,192.168.7.3",
		"--dhcp-option=option:ntp-server,192.168.7.4", "--dhcp-option=option:mtu,1400")
	s.switchOn(network.Config{Hostname: "sealpost-1234"})
	status := s.await("a lease", leased("192.168.7.0/24"))

	if status.Trouble != "" || !status.Carrier || status.MAC == "" || status.Interface != "eth0" {
		t.Errorf("the status is %+v", status)
	}
	if lasts := time.Until(status.LeaseUntil); lasts < 119*time.Minute || lasts > 2*time.Hour {
		t.Errorf("the lease of two hours lasts %v", lasts)
	}
	if want := netip.MustParseAddr("192.168.7.1"); status.Gateway != want || status.Server != want {
		t.Errorf("the gateway is %s and the server %s", status.Gateway, status.Server)
	}
	if !slices.Equal(status.NTP, []string{"192.168.7.4"}) {
		t.Errorf("the time servers are %v", status.NTP)
	}
	file, err := os.ReadFile(s.resolvConf)
	if want := "nameserver 192.168.7.2\nnameserver 192.168.7.3\noptions timeout:2 attempts:2\n"; err != nil || string(file) != want {
		t.Errorf("the resolver's file is %q, %v", file, err)
	}
	if routes := s.ip("-n", s.box, "route"); !strings.Contains(routes, "default via 192.168.7.1 dev eth0") || !strings.Contains(routes, "mtu 1400") {
		t.Errorf("the routes are %s", routes)
	}
}

func TestLease_IsRequestedAgainWhenTheCableComesBack(t *testing.T) {
	s := newSite(t)
	s.address("192.168.7.1/24")
	stop := s.dnsmasq("--dhcp-range=192.168.7.50,192.168.7.60,2h")
	s.switchOn(network.Config{})
	s.await("a lease", leased("192.168.7.0/24"))

	s.plugOut()
	status := s.await("the loss of the link", func(s network.Status) bool { return !s.Carrier })
	if !strings.Contains(status.Trouble, "Plug the network cable in") {
		t.Errorf("without a cable the box says %q", status.Trouble)
	}
	stop()
	s.address("10.9.8.1/24")
	s.dnsmasq("--dhcp-range=10.9.8.50,10.9.8.60,2h")
	s.plugIn()
	status = s.await("a lease of the other network", leased("10.9.8.0/24"))
	if within("192.168.7.0/24")(status) {
		t.Errorf("the former address is still there: %v", status.Addresses)
	}
	if routes := s.ip("-n", s.box, "-4", "route"); strings.Contains(routes, "192.168.7") {
		t.Errorf("routes of the former network are still there: %s", routes)
	}
}
