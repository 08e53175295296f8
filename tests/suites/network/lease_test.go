package networktest

import (
	"math"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"sealpost/hal/linux/network"
)

// short is the shortest lease the box takes as it is.
const short = 10 * time.Second

func renews(m *dhcpv4.DHCPv4) bool {
	return m.MessageType() == dhcpv4.MessageTypeRequest && !m.ClientIPAddr.IsUnspecified()
}

func TestLease_IsRenewedBeforeItEnds(t *testing.T) {
	s := newSite(t)
	s.address("10.1.0.1/24")
	renewals := make(chan net.IP, 100)
	s.serve(func(m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
		if renews(m) {
			renewals <- m.ClientIPAddr
		}
		return grant(m, "10.1.0.9", "10.1.0.1", short)
	})
	s.switchOn(network.Config{})
	begun := time.Now()
	s.await("a lease", leased("10.1.0.0/24"))
	for range 2 {
		select {
		case own := <-renewals:
			if own.String() != "10.1.0.9" {
				t.Errorf("the box renews %s", own)
			}
		case <-time.After(limit):
			t.Fatal("the lease was not renewed")
		}
	}
	if took := time.Since(begun); took < 9*time.Second || took > 20*time.Second {
		t.Errorf("two renewals of a lease of %v came within %v", short, took)
	}
	if addresses := s.ip("-n", s.box, "address"); !strings.Contains(addresses, "10.1.0.9/24") {
		t.Errorf("after the lease would have ended without renewal, the addresses are %s", addresses)
	}
}

func TestLease_TakesItsAddressAwayWhenItEnds(t *testing.T) {
	s := newSite(t)
	s.address("10.1.0.1/24")
	var silent atomic.Bool
	s.serve(func(m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
		if silent.Load() {
			return nil
		}
		return grant(m, "10.1.0.9", "10.1.0.1", short)
	})
	s.switchOn(network.Config{})
	s.await("a lease", leased("10.1.0.0/24"))
	silent.Store(true)
	status := s.await("the end of the lease", func(status network.Status) bool {
		return status.Method != network.MethodDHCP && !within("10.1.0.0/24")(status)
	})
	if status.Gateway.IsValid() || !status.LeaseUntil.IsZero() || status.Server.IsValid() {
		t.Errorf("the lease has left its traces: %+v", status)
	}
	if routes := s.ip("-n", s.box, "-4", "route"); strings.Contains(routes, "default") {
		t.Errorf("the lease has left its routes: %s", routes)
	}
}

func TestLease_RefusedRenewalReplacesTheAddress(t *testing.T) {
	s := newSite(t)
	s.address("10.1.0.1/24")
	s.address("10.2.0.1/24")
	var moved atomic.Bool
	s.serve(func(m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
		switch {
		case renews(m):
			moved.Store(true)
			return refuse(m, "10.1.0.1")
		case moved.Load():
			return grant(m, "10.2.0.9", "10.2.0.1", time.Hour)
		}
		return grant(m, "10.1.0.9", "10.1.0.1", short)
	})
	s.switchOn(network.Config{})
	s.await("the first lease", leased("10.1.0.0/24"))
	status := s.await("the second lease", leased("10.2.0.0/24"))
	if within("10.1.0.0/24")(status) {
		t.Errorf("the former address is still there: %v", status.Addresses)
	}
}

// confirms says whether the message is of the state INIT-REBOOT (RFC 2131,
// section 4.3.2).
func confirms(m *dhcpv4.DHCPv4) bool {
	return m.MessageType() == dhcpv4.MessageTypeRequest && m.ServerIdentifier() == nil && m.RequestedIPAddress() != nil
}

func TestLease_IsConfirmedAfterAShortLossOfLink(t *testing.T) {
	s := newSite(t)
	s.address("10.1.0.1/24")
	confirmed := make(chan net.IP, 100)
	s.serve(func(m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
		if confirms(m) {
			confirmed <- m.RequestedIPAddress()
		}
		return grant(m, "10.1.0.9", "10.1.0.1", time.Hour)
	})
	s.switchOn(network.Config{})
	s.await("a lease", leased("10.1.0.0/24"))
	s.ip("-n", s.lan, "-batch", s.flicker())
	select {
	case own := <-confirmed:
		if own.String() != "10.1.0.9" {
			t.Errorf("the box asks to have %s confirmed", own)
		}
	case <-time.After(limit):
		t.Fatal("the lease was not confirmed")
	}
}

func TestLease_StaysWhileTheGatewayAnswers(t *testing.T) {
	s := newSite(t)
	s.address("10.1.0.1/24")
	var silent atomic.Bool
	s.serve(func(m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
		if silent.Load() {
			return nil
		}
		return grant(m, "10.1.0.9", "10.1.0.1", time.Hour)
	})
	s.switchOn(network.Config{})
	s.await("a lease", leased("10.1.0.0/24"))
	silent.Store(true)
	s.plugOut()
	s.await("the loss of the link", func(s network.Status) bool { return !s.Carrier })
	s.plugIn()
	status := s.await("words on the server", func(s network.Status) bool {
		return s.Carrier && strings.Contains(s.Trouble, "does not renew")
	})
	if !leased("10.1.0.0/24")(status) {
		t.Errorf("the lease is lost: %+v", status)
	}
}

func TestOffer_OfAnUnusableAddressIsRefusedInWords(t *testing.T) {
	s := newSite(t)
	s.address("10.1.0.1/24")
	s.serve(func(m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 { return grant(m, "127.0.0.9", "10.1.0.1", time.Hour) })
	s.switchOn(network.Config{})
	status := s.await("words on the server", func(s network.Status) bool { return s.Trouble != "" && s.Carrier })
	for _, words := range []string{"10.1.0.1", "no host can have the address 127.0.0.9", "correct the range of addresses"} {
		if !strings.Contains(status.Trouble, words) {
			t.Errorf("%q is not in %q", words, status.Trouble)
		}
	}
	if within("127.0.0.0/8")(status) {
		t.Errorf("the box took %v", status.Addresses)
	}
}

func TestOffer_OfAnHonestServerIsTakenBesideALyingOne(t *testing.T) {
	s := newSite(t)
	s.address("10.1.0.1/24")
	s.serve(func(m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
		if chosen := m.ServerIdentifier(); chosen != nil && chosen.String() != "10.1.0.2" {
			return refuse(m, "10.1.0.2")
		}
		return grant(m, "0.0.0.0", "10.1.0.2", time.Hour)
	})
	s.dnsmasq("--dhcp-range=10.1.0.50,10.1.0.60,2h", "--dhcp-reply-delay=1")
	s.switchOn(network.Config{})
	status := s.await("an address", func(s network.Status) bool { return s.Method != network.MethodNone })
	if status.Server.String() != "10.1.0.1" {
		t.Errorf("the lease is by %s", status.Server)
	}
}

func TestLease_WithoutEndIsBounded(t *testing.T) {
	s := newSite(t)
	s.address("10.1.0.1/24")
	crowd := slices.Repeat([]net.IP{net.IPv4(10, 1, 0, 1)}, 200)
	s.serve(func(m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
		return grant(m, "10.1.0.9", "10.1.0.1", math.MaxUint32*time.Second,
			dhcpv4.WithOption(dhcpv4.OptDNS(crowd...)), dhcpv4.WithOption(dhcpv4.OptRouter(net.IPv4(10, 66, 0, 1))))
	})
	s.switchOn(network.Config{})
	status := s.await("a lease", leased("10.1.0.0/24"))
	if len(status.DNS) != 3 {
		t.Errorf("of 200 DNS servers %d are used", len(status.DNS))
	}
	if years := time.Until(status.LeaseUntil).Hours() / 24 / 365; years < 100 {
		t.Errorf("the lease for ever ends in %.1f years", years)
	}
	if status.Gateway.IsValid() || !strings.Contains(status.Trouble, "10.66.0.1 lies outside the box's subnet 10.1.0.0/24") {
		t.Errorf("the gateway is %s and the trouble %q", status.Gateway, status.Trouble)
	}
}
