//go:build linux

package network

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// offer returns a valid offer, with changes.
func offer(t testing.TB, changes ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	t.Helper()
	message, err := dhcpv4.New(append([]dhcpv4.Modifier{
		dhcpv4.WithYourIP(net.IPv4(10, 1, 0, 9)),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(10, 1, 0, 1))),
		dhcpv4.WithOption(dhcpv4.OptRouter(net.IPv4(10, 1, 0, 1))),
		dhcpv4.WithNetmask(net.CIDRMask(24, 32)),
		dhcpv4.WithLeaseTime(3600),
	}, changes...)...)
	if err != nil {
		t.Fatal(err)
	}
	return message
}

func seconds(code dhcpv4.OptionCode, d time.Duration) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.Option{Code: code, Value: dhcpv4.Duration(d)})
}

func TestReadLease_RejectsUnusableOffers(t *testing.T) {
	tests := map[string]struct {
		change dhcpv4.Modifier
		text   string
	}{
		"no server":         {dhcpv4.WithoutOption(dhcpv4.OptionServerIdentifier), "option 54"},
		"no mask":           {dhcpv4.WithoutOption(dhcpv4.OptionSubnetMask), "option 1"},
		"a mask with a gap": {dhcpv4.WithNetmask(net.IPv4Mask(255, 0, 255, 0)), "no subnet mask"},
		"one host":          {dhcpv4.WithNetmask(net.CIDRMask(32, 32)), "/32"},
		"all hosts":         {dhcpv4.WithNetmask(net.CIDRMask(0, 32)), "/0"},
		"no address":        {dhcpv4.WithYourIP(net.IPv4zero), "0.0.0.0"},
		"loopback":          {dhcpv4.WithYourIP(net.IPv4(127, 0, 0, 1)), "127.0.0.1"},
		"multicast":         {dhcpv4.WithYourIP(net.IPv4(224, 0, 0, 9)), "224.0.0.9"},
		"broadcast":         {dhcpv4.WithYourIP(net.IPv4bcast), "255.255.255.255"},
		"link-local":        {dhcpv4.WithYourIP(net.IPv4(169, 254, 3, 4)), "169.254.3.4"},
		"the subnet itself": {dhcpv4.WithYourIP(net.IPv4(10, 1, 0, 0)), "10.1.0.0/24"},
		"its broadcast":     {dhcpv4.WithYourIP(net.IPv4(10, 1, 0, 255)), "10.1.0.255"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			l, err := readLease(offer(t, test.change))
			if err == nil || !strings.Contains(err.Error(), test.text) {
				t.Errorf("got %+v, %v, want an error with %q", l, err, test.text)
			}
		})
	}
}

func TestReadLease_BoundsAndOrdersTimes(t *testing.T) {
	const hour = time.Hour
	tests := map[string]struct {
		changes                 []dhcpv4.Modifier
		lifetime, renew, rebind time.Duration
	}{
		"as usual":   {nil, hour, hour / 2, hour / 8 * 7},
		"none":       {[]dhcpv4.Modifier{dhcpv4.WithoutOption(dhcpv4.OptionIPAddressLeaseTime)}, minLease, minLease / 2, minLease / 8 * 7},
		"zero":       {[]dhcpv4.Modifier{dhcpv4.WithLeaseTime(0)}, minLease, minLease / 2, minLease / 8 * 7},
		"one second": {[]dhcpv4.Modifier{dhcpv4.WithLeaseTime(1)}, minLease, minLease / 2, minLease / 8 * 7},
		"infinite":   {[]dhcpv4.Modifier{dhcpv4.WithLeaseTime(1<<32 - 1)}, (1<<32 - 1) * time.Second, maxRenew, (1<<32 - 1) * time.Second / 8 * 7},
		"times of the server": {[]dhcpv4.Modifier{seconds(dhcpv4.OptionRenewTimeValue, 10*time.Minute), seconds(dhcpv4.OptionRebindingTimeValue, 20*time.Minute)},
			hour, 10 * time.Minute, 20 * time.Minute},
		"times in the wrong order": {[]dhcpv4.Modifier{seconds(dhcpv4.OptionRenewTimeValue, 20*time.Minute), seconds(dhcpv4.OptionRebindingTimeValue, 10*time.Minute)},
			hour, hour / 2, hour / 8 * 7},
		"times beyond the lease": {[]dhcpv4.Modifier{seconds(dhcpv4.OptionRenewTimeValue, 2*hour), seconds(dhcpv4.OptionRebindingTimeValue, 3*hour)},
			hour, hour / 2, hour / 8 * 7},
		"a renewal time that is too short": {[]dhcpv4.Modifier{seconds(dhcpv4.OptionRenewTimeValue, time.Second), seconds(dhcpv4.OptionRebindingTimeValue, hour/2)},
			hour, hour / 2, hour / 8 * 7},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			l, err := readLease(offer(t, test.changes...))
			if err != nil || l.lifetime != test.lifetime || l.renew != test.renew || l.rebind != test.rebind {
				t.Errorf("got lifetime %v, T1 %v, T2 %v, %v; want %v, %v and %v", l.lifetime, l.renew, l.rebind, err, test.lifetime, test.renew, test.rebind)
			}
		})
	}
}

func TestReadLease_PrefersClasslessRoutesToTheRouter(t *testing.T) {
	via := func(to, gateway string) *dhcpv4.Route {
		return &dhcpv4.Route{Dest: ipNet(netip.MustParsePrefix(to)), Router: net.ParseIP(gateway)}
	}
	l, err := readLease(offer(t, dhcpv4.WithOption(dhcpv4.OptClasslessStaticRoute(
		via("0.0.0.0/0", "10.1.0.254"), via("172.16.0.0/12", "10.1.0.3"), via("192.168.0.0/16", "10.9.0.1")))))
	if err != nil {
		t.Fatal(err)
	}
	if l.gateway.String() != "10.1.0.254" || len(l.routes) != 2 || !strings.Contains(l.warning, "10.9.0.1 lies outside") {
		t.Errorf("got gateway %s, routes %v, warning %q", l.gateway, l.routes, l.warning)
	}
}

func TestReadLease_LimitsTheNumberOfRoutes(t *testing.T) {
	var routes []*dhcpv4.Route
	for n := range 30 {
		routes = append(routes, &dhcpv4.Route{Dest: ipNet(netip.PrefixFrom(netip.AddrFrom4([4]byte{172, byte(n)}), 16)), Router: net.IPv4(10, 1, 0, 1)})
	}
	l, err := readLease(offer(t, dhcpv4.WithOption(dhcpv4.OptClasslessStaticRoute(routes...))))
	if err != nil || len(l.routes) != maxRoutes {
		t.Errorf("got %d routes, %v, want %d", len(l.routes), err, maxRoutes)
	}
}

func TestReadLease_IgnoresUnusableMTUs(t *testing.T) {
	for mtu, want := range map[uint16]int{0: 0, 68: 0, 575: 0, 576: 576, 1400: 1400, 1500: 1500, 9000: 0} {
		l, err := readLease(offer(t, dhcpv4.WithOption(dhcpv4.Option{Code: dhcpv4.OptionInterfaceMTU, Value: dhcpv4.Uint16(mtu)})))
		if err != nil || l.routes[0].mtu != want {
			t.Errorf("MTU %d: got %d, %v, want %d", mtu, l.routes[0].mtu, err, want)
		}
	}
}

func FuzzReadLease(f *testing.F) {
	f.Add(offer(f).ToBytes())
	f.Add(offer(f, dhcpv4.WithOption(dhcpv4.OptDNS(net.IPv4zero, net.IPv4bcast, net.IPv4(1, 1, 1, 1)))).ToBytes())
	f.Add(offer(f, dhcpv4.WithGeneric(dhcpv4.OptionClasslessStaticRoute, []byte{0, 10, 1, 0, 1, 33})).ToBytes())
	f.Add(offer(f, dhcpv4.WithGeneric(dhcpv4.OptionSubnetMask, []byte{255})).ToBytes())
	f.Fuzz(func(t *testing.T, packet []byte) {
		message, err := dhcpv4.FromBytes(packet)
		if err != nil {
			return
		}
		l, err := readLease(message)
		if err != nil {
			return
		}
		if err := checkHost(l.address); err != nil {
			t.Error(err)
		}
		if l.lifetime < minLease || l.renew >= l.rebind || l.rebind >= l.lifetime || l.renew <= 0 || l.renew > maxRenew {
			t.Errorf("got lifetime %v, T1 %v, T2 %v", l.lifetime, l.renew, l.rebind)
		}
		for _, r := range l.routes {
			if err := checkGateway(r.via, l.address); err != nil || !r.to.IsValid() {
				t.Errorf("got invalid route %v: %v", r, err)
			}
		}
		if len(l.dns) > maxDNS || len(l.ntp) > maxNTP || len(l.routes) > maxRoutes {
			t.Errorf("got more than the limits: %+v", l)
		}
	})
}
