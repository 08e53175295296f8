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

// minLease is the shortest lease that the box accepts unchanged.
const minLease = 10 * time.Second

func isRenewal(m *dhcpv4.DHCPv4) bool {
	return m.MessageType() == dhcpv4.MessageTypeRequest && !m.ClientIPAddr.IsUnspecified()
}

func TestLease_IsRenewedBeforeItEnds(t *testing.T) {
	s := newSite(t)
	s.addAddress("10.1.0.1/24")
	renewals := make(chan net.IP, 100)
	s.serve(func(m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
		if isRenewal(m) {
			renewals <- m.ClientIPAddr
		}
		return offerOrAck(m, "10.1.0.9", "10.1.0.1", minLease)
	})
	s.switchOn(network.Config{})
	start := time.Now()
	s.await("a lease", hasLease("10.1.0.0/24"))
	for range 2 {
		select {
		case address := <-renewals:
			if address.String() != "10.1.0.9" {
				t.Errorf("got a renewal of %s, want 10.1.0.9", address)
			}
		case <-time.After(timeout):
			t.Fatal("the lease was not renewed")
		}
	}
	if took := time.Since(start); took < 9*time.Second || took > 20*time.Second {
		t.Errorf("got two renewals of a lease of %v within %v, want 9 s to 20 s", minLease, took)
	}
	if addresses := s.ip("-n", s.box, "address"); !strings.Contains(addresses, "10.1.0.9/24") {
		t.Errorf("got addresses %s after the renewals, want 10.1.0.9", addresses)
	}
}

func TestExpiredLease_RemovesItsAddress(t *testing.T) {
	s := newSite(t)
	s.addAddress("10.1.0.1/24")
	var silent atomic.Bool
	s.serve(func(m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
		if silent.Load() {
			return nil
		}
		return offerOrAck(m, "10.1.0.9", "10.1.0.1", minLease)
	})
	s.switchOn(network.Config{})
	s.await("a lease", hasLease("10.1.0.0/24"))
	silent.Store(true)
	status := s.await("the end of the lease", func(status network.Status) bool {
		return status.Method != network.MethodDHCP && !hasAddressIn("10.1.0.0/24")(status)
	})
	if status.Gateway.IsValid() || !status.LeaseUntil.IsZero() || status.Server.IsValid() {
		t.Errorf("the status still shows the expired lease: %+v", status)
	}
	if routes := s.ip("-n", s.box, "-4", "route"); strings.Contains(routes, "default") {
		t.Errorf("routes of the expired lease are still there: %s", routes)
	}
}

func TestLease_RejectedRenewalReplacesTheAddress(t *testing.T) {
	s := newSite(t)
	s.addAddress("10.1.0.1/24")
	s.addAddress("10.2.0.1/24")
	var moved atomic.Bool
	s.serve(func(m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
		switch {
		case isRenewal(m):
			moved.Store(true)
			return nak(m, "10.1.0.1")
		case moved.Load():
			return offerOrAck(m, "10.2.0.9", "10.2.0.1", time.Hour)
		}
		return offerOrAck(m, "10.1.0.9", "10.1.0.1", minLease)
	})
	s.switchOn(network.Config{})
	s.await("the first lease", hasLease("10.1.0.0/24"))
	status := s.await("the second lease", hasLease("10.2.0.0/24"))
	if hasAddressIn("10.1.0.0/24")(status) {
		t.Errorf("the previous address is still there: %v", status.Addresses)
	}
}

// isInitReboot reports whether a client in state INIT-REBOOT sent the message (RFC
// 2131, section 4.3.2).
func isInitReboot(m *dhcpv4.DHCPv4) bool {
	return m.MessageType() == dhcpv4.MessageTypeRequest && m.ServerIdentifier() == nil && m.RequestedIPAddress() != nil
}

func TestLease_IsConfirmedAfterAShortLossOfLink(t *testing.T) {
	s := newSite(t)
	s.addAddress("10.1.0.1/24")
	confirmed := make(chan net.IP, 100)
	s.serve(func(m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
		if isInitReboot(m) {
			confirmed <- m.RequestedIPAddress()
		}
		return offerOrAck(m, "10.1.0.9", "10.1.0.1", time.Hour)
	})
	s.switchOn(network.Config{})
	s.await("a lease", hasLease("10.1.0.0/24"))
	s.ip("-n", s.lan, "-batch", s.flapBatch())
	select {
	case address := <-confirmed:
		if address.String() != "10.1.0.9" {
			t.Errorf("got a request for %s, want 10.1.0.9", address)
		}
	case <-time.After(timeout):
		t.Fatal("the lease was not confirmed")
	}
}

func TestLease_IsKeptWhileTheGatewayReplies(t *testing.T) {
	s := newSite(t)
	s.addAddress("10.1.0.1/24")
	var silent atomic.Bool
	s.serve(func(m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
		if silent.Load() {
			return nil
		}
		return offerOrAck(m, "10.1.0.9", "10.1.0.1", time.Hour)
	})
	s.switchOn(network.Config{})
	s.await("a lease", hasLease("10.1.0.0/24"))
	silent.Store(true)
	s.unplug()
	s.await("the loss of the link", func(s network.Status) bool { return !s.Carrier })
	s.plugIn()
	status := s.await("a server that does not renew", func(s network.Status) bool {
		return s.Carrier && strings.Contains(s.Trouble, "does not renew")
	})
	if !hasLease("10.1.0.0/24")(status) {
		t.Errorf("the lease is lost: %+v", status)
	}
}

func TestOffer_OfAnUnusableAddressIsRejectedAndReported(t *testing.T) {
	s := newSite(t)
	s.addAddress("10.1.0.1/24")
	s.serve(func(m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 { return offerOrAck(m, "127.0.0.9", "10.1.0.1", time.Hour) })
	s.switchOn(network.Config{})
	status := s.await("an unusable offer", func(s network.Status) bool { return s.Trouble != "" && s.Carrier })
	for _, want := range []string{"10.1.0.1", "no host can have the address 127.0.0.9", "correct the range of addresses"} {
		if !strings.Contains(status.Trouble, want) {
			t.Errorf("got trouble %q, want %q", status.Trouble, want)
		}
	}
	if hasAddressIn("127.0.0.0/8")(status) {
		t.Errorf("got addresses %v, want none of the offer", status.Addresses)
	}
}

func TestOffer_OfAGoodServerIsAcceptedDespiteABadOne(t *testing.T) {
	s := newSite(t)
	s.addAddress("10.1.0.1/24")
	s.serve(func(m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
		if chosen := m.ServerIdentifier(); chosen != nil && chosen.String() != "10.1.0.2" {
			return nak(m, "10.1.0.2")
		}
		return offerOrAck(m, "0.0.0.0", "10.1.0.2", time.Hour)
	})
	s.dnsmasq("--dhcp-range=10.1.0.50,10.1.0.60,2h", "--dhcp-reply-delay=1")
	s.switchOn(network.Config{})
	status := s.await("an address", func(s network.Status) bool { return s.Method != network.MethodNone })
	if status.Server.String() != "10.1.0.1" {
		t.Errorf("got a lease from %s, want 10.1.0.1", status.Server)
	}
}

func TestLease_InfiniteTimeAndManyServersAreLimited(t *testing.T) {
	s := newSite(t)
	s.addAddress("10.1.0.1/24")
	servers := slices.Repeat([]net.IP{net.IPv4(10, 1, 0, 1)}, 200)
	s.serve(func(m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
		return offerOrAck(m, "10.1.0.9", "10.1.0.1", math.MaxUint32*time.Second,
			dhcpv4.WithOption(dhcpv4.OptDNS(servers...)), dhcpv4.WithOption(dhcpv4.OptRouter(net.IPv4(10, 66, 0, 1))))
	})
	s.switchOn(network.Config{})
	status := s.await("a lease", hasLease("10.1.0.0/24"))
	if len(status.DNS) != 3 {
		t.Errorf("got %d DNS servers, want 3", len(status.DNS))
	}
	if years := time.Until(status.LeaseUntil).Hours() / 24 / 365; years < 100 {
		t.Errorf("got an infinite lease for %.1f years, want at least 100", years)
	}
	if status.Gateway.IsValid() || !strings.Contains(status.Trouble, "10.66.0.1 lies outside the box's subnet 10.1.0.0/24") {
		t.Errorf("got gateway %s and trouble %q, want no gateway", status.Gateway, status.Trouble)
	}
}
