package networktest

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"sealpost/hal/linux/mdns"
	"sealpost/hal/linux/network"
)

// queryName sends a one-shot multicast query for the box's name and returns the
// address in the first response, or "".
func queryName(t *testing.T, conn net.PacketConn) string {
	t.Helper()
	question := dnsmessage.Message{Header: dnsmessage.Header{ID: 7}, Questions: []dnsmessage.Question{{
		Name: dnsmessage.MustNewName("SealPost-1234.local."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}}}
	packed, err := question.Pack()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.WriteTo(packed, &net.UDPAddr{IP: net.IPv4(224, 0, 0, 251), Port: 5353}); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 1500)
	n, _, err := conn.ReadFrom(buffer)
	if err != nil {
		return ""
	}
	var response dnsmessage.Message
	if err := response.Unpack(buffer[:n]); err != nil || response.ID != 7 || len(response.Answers) == 0 {
		t.Fatalf("got response %+v, %v, want ID 7 and an answer", response, err)
	}
	return netip.AddrFrom4(response.Answers[0].Body.(*dnsmessage.AResource).A).String()
}

func TestHostName_FollowsTheAddress(t *testing.T) {
	s := newSite(t)
	s.addAddress("10.1.0.1/24")
	s.ip("-n", s.box, "link", "set", "eth0", "up")
	s.ip("-n", s.lan, "route", "add", "224.0.0.0/4", "dev", "lan0")

	ctx, cancel := context.WithCancel(context.Background())
	addresses := make(chan []netip.Prefix)
	done := inNamespace(s.box, func() error { return mdns.Run(ctx, "eth0", func() string { return "sealpost-1234" }, addresses) })
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("mdns.Run: got %v, want no error", err)
		}
	})
	var conn net.PacketConn
	err := <-inNamespace(s.lan, func() (err error) {
		conn, err = net.ListenPacket("udp4", "10.1.0.1:0")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()

	for _, address := range []string{"10.1.0.9/24", "10.1.0.10/24"} {
		prefix := netip.MustParsePrefix(address)
		s.ip("-n", s.box, "address", "flush", "dev", "eth0", "scope", "global")
		s.ip("-n", s.box, "address", "add", address, "dev", "eth0")
		addresses <- []netip.Prefix{prefix}
		for start := time.Now(); queryName(t, conn) != prefix.Addr().String(); {
			if time.Since(start) > timeout {
				t.Fatalf("the name does not resolve to %s", prefix.Addr())
			}
		}
	}
}

// nobody is an unprivileged user.
const nobody = 65534

func TestSubnets_AreReportedToAnUnprivilegedProcess(t *testing.T) {
	s := newSite(t)
	s.ip("-n", s.box, "link", "set", "eth0", "up")
	ctx, cancel := context.WithCancel(context.Background())
	reported := make(chan []netip.Prefix, 100)
	done := inNamespace(s.box, func() error {
		// Only for this thread: syscall.Setresuid changes the whole process.
		if _, _, failure := unix.RawSyscall(unix.SYS_SETRESUID, nobody, nobody, nobody); failure != 0 {
			return failure
		}
		return network.WatchSubnets(ctx, func(subnets []netip.Prefix) { reported <- subnets })
	})
	await := func(subnet string, want bool) {
		t.Helper()
		for expired := time.After(timeout); ; {
			select {
			case subnets := <-reported:
				if slices.Contains(subnets, netip.MustParsePrefix(subnet)) == want {
					return
				}
			case <-expired:
				t.Fatalf("got no report with subnet %s present=%v", subnet, want)
			}
		}
	}
	await("fe80::/10", true)
	s.ip("-n", s.box, "address", "add", "10.1.0.9/24", "dev", "eth0")
	await("10.1.0.0/24", true)
	s.ip("-n", s.box, "address", "del", "10.1.0.9/24", "dev", "eth0")
	await("10.1.0.0/24", false)
	cancel()
	if err := <-done; err != nil {
		t.Errorf("WatchSubnets: got %v, want no error", err)
	}
}
