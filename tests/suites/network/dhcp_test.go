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

func hasLease(subnet string) func(network.Status) bool {
	return func(s network.Status) bool { return s.Method == network.MethodDHCP && hasAddressIn(subnet)(s) }
}

func hasAddressIn(subnet string) func(network.Status) bool {
	return func(s network.Status) bool {
		return slices.ContainsFunc(s.Addresses, func(a netip.Prefix) bool { return netip.MustParsePrefix(subnet).Contains(a.Addr()) })
	}
}

func TestLease_ProvidesEverySetting(t *testing.T) {
	s := newSite(t)
	s.addAddress("192.168.7.1/24")
	s.dnsmasq("--dhcp-range=192.168.7.50,192.168.7.60,2h", "--dhcp-option=option:dns-server,192.168.7.2,192.168.7.3",
		"--dhcp-option=option:ntp-server,192.168.7.4", "--dhcp-option=option:mtu,1400")
	s.switchOn(network.Config{Hostname: "sealpost-1234"})
	status := s.await("a lease", hasLease("192.168.7.0/24"))

	if status.Trouble != "" || !status.Carrier || status.MAC == "" || status.Interface != "eth0" {
		t.Errorf("got status %+v, want eth0 with a link and no trouble", status)
	}
	if left := time.Until(status.LeaseUntil); left < 119*time.Minute || left > 2*time.Hour {
		t.Errorf("got a lease for %v, want two hours", left)
	}
	if want := netip.MustParseAddr("192.168.7.1"); status.Gateway != want || status.Server != want {
		t.Errorf("got gateway %s and server %s, want %s", status.Gateway, status.Server, want)
	}
	if !slices.Equal(status.NTP, []string{"192.168.7.4"}) {
		t.Errorf("got NTP servers %v, want 192.168.7.4", status.NTP)
	}
	file, err := os.ReadFile(s.resolvConf)
	if want := "nameserver 192.168.7.2\nnameserver 192.168.7.3\noptions timeout:2 attempts:2\n"; err != nil || string(file) != want {
		t.Errorf("got resolv.conf %q, %v, want %q", file, err, want)
	}
	if routes := s.ip("-n", s.box, "route"); !strings.Contains(routes, "default via 192.168.7.1 dev eth0") || !strings.Contains(routes, "mtu 1400") {
		t.Errorf("got routes %s, want a default route by 192.168.7.1 and mtu 1400", routes)
	}
}

func TestLease_IsRequestedAgainWhenTheCableIsPluggedInAgain(t *testing.T) {
	s := newSite(t)
	s.addAddress("192.168.7.1/24")
	stop := s.dnsmasq("--dhcp-range=192.168.7.50,192.168.7.60,2h")
	s.switchOn(network.Config{})
	s.await("a lease", hasLease("192.168.7.0/24"))

	s.unplug()
	status := s.await("the loss of the link", func(s network.Status) bool { return !s.Carrier })
	if !strings.Contains(status.Trouble, "Plug the network cable in") {
		t.Errorf("got trouble %q, want \"Plug the network cable in\"", status.Trouble)
	}
	stop()
	s.addAddress("10.9.8.1/24")
	s.dnsmasq("--dhcp-range=10.9.8.50,10.9.8.60,2h")
	s.plugIn()
	status = s.await("a lease of the other network", hasLease("10.9.8.0/24"))
	if hasAddressIn("192.168.7.0/24")(status) {
		t.Errorf("got addresses %v, want none of the previous network", status.Addresses)
	}
	if routes := s.ip("-n", s.box, "-4", "route"); strings.Contains(routes, "192.168.7") {
		t.Errorf("got routes %s, want none of the previous network", routes)
	}
}
