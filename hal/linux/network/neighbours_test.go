//go:build linux && !quick

package network

import (
	"net"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// inNetwork calls do in a network namespace with an interface that has neighbours.
func inNetwork(t *testing.T, do func(add func(address string, mac net.HardwareAddr, state int))) {
	t.Helper()
	var done sync.WaitGroup
	done.Go(func() {
		runtime.LockOSThread() // the thread ends with the goroutine, and with it the namespace
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Errorf("a network namespace needs root: %v", err)
			return
		}
		link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "lan0"}, PeerName: "far0"}
		if err := netlink.LinkAdd(link); err != nil {
			t.Error(err)
			return
		}
		created, err := netlink.LinkByName("lan0")
		if err != nil {
			t.Error(err)
			return
		}
		if err := netlink.LinkSetUp(created); err != nil {
			t.Error(err)
			return
		}
		do(func(address string, mac net.HardwareAddr, state int) {
			ip := net.ParseIP(address)
			n := &netlink.Neigh{LinkIndex: created.Attrs().Index, State: state, IP: ip, HardwareAddr: mac}
			if n.Family = netlink.FAMILY_V6; ip.To4() != nil {
				n.Family, n.IP = netlink.FAMILY_V4, ip.To4()
			}
			if err := netlink.NeighSet(n); err != nil {
				t.Errorf("%s: %v", address, err)
			}
		})
	})
	done.Wait()
}

var mac = net.HardwareAddr{0x00, 0x1E, 0x8F, 0x12, 0x34, 0x56}

func TestHardwareAddress_IsThatOfAReachableNeighbour(t *testing.T) {
	inNetwork(t, func(add func(string, net.HardwareAddr, int)) {
		add("192.0.2.7", mac, netlink.NUD_PERMANENT)
		add("192.0.2.8", mac, netlink.NUD_STALE)
		add("192.0.2.9", mac, netlink.NUD_FAILED)
		add("fe80::7", mac, netlink.NUD_REACHABLE)
		for address, want := range map[string]string{
			"192.0.2.7":        "00:1e:8f:12:34:56",
			"::ffff:192.0.2.7": "00:1e:8f:12:34:56",
			"192.0.2.8":        "00:1e:8f:12:34:56",
			"192.0.2.9":        "",
			"fe80::7":          "00:1e:8f:12:34:56",
			"fe80::7%lan0":     "00:1e:8f:12:34:56",
			"192.0.2.10":       "",
			"127.0.0.1":        "",
		} {
			var n Neighbours
			if got := n.HardwareAddress(netip.MustParseAddr(address)); got != want {
				t.Errorf("%s: got %q, want %q", address, got, want)
			}
		}
	})
}

// TestHardwareAddress_IsReadAgainAfterAMoment has a device whose address gets another
// hardware address, and one that appears.
func TestHardwareAddress_IsReadAgainAfterAMoment(t *testing.T) {
	inNetwork(t, func(add func(string, net.HardwareAddr, int)) {
		var n Neighbours
		known, appears := netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("192.0.2.8")
		another := net.HardwareAddr{0x00, 0x1E, 0x8F, 0, 0, 1}
		expect := func(when string, address netip.Addr, want net.HardwareAddr) {
			t.Helper()
			if got := n.HardwareAddress(address); got != want.String() {
				t.Errorf("%s: got %q, want %q", when, got, want)
			}
		}
		add("192.0.2.7", mac, netlink.NUD_PERMANENT)
		expect("at first", known, mac)
		add("192.0.2.7", another, netlink.NUD_PERMANENT)
		expect("at once", known, mac)
		expect("before it appears", appears, nil)
		add("192.0.2.8", mac, netlink.NUD_PERMANENT)
		expect("just after it appeared", appears, nil)
		n.read = n.read.Add(-unknownNeighbour)
		expect("a second later", appears, mac)
		n.read = time.Now().Add(-knownNeighbour)
		expect("ten seconds later", known, another)
	})
}
