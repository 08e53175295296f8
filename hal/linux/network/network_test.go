//go:build linux

package network

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"
)

func TestWired_AcceptsOnlyWiredInterfaces(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	interfaces := fstest.MapFS{
		"lo/type":                file("772\n"),
		"eth0/type":              file("1\n"),
		"eth0/device/uevent":     file(""),
		"wlan0/type":             file("1\n"),
		"wlan0/device/uevent":    file(""),
		"wlan0/phy80211/uevent":  file(""),
		"wlan1/type":             file("1\n"),
		"wlan1/device/uevent":    file(""),
		"wlan1/wireless/.hidden": file(""),
		"docker0/type":           file("1\n"),
		"can0/type":              file("280\n"),
		"can0/device/uevent":     file(""),
	}
	for _, name := range []string{"lo", "eth0", "wlan0", "wlan1", "docker0", "can0", "missing"} {
		if got := wired(interfaces, name); got != (name == "eth0") {
			t.Errorf("%s: wired is %v", name, got)
		}
	}
}

func TestWriteResolvConf_ReplacesTheFileAndNeverEmptiesIt(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "resolv.conf")
	servers := []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("fd00::3"), netip.MustParseAddr("10.0.0.4")}
	if err := writeResolvConf(path, servers); err != nil {
		t.Fatal(err)
	}
	if err := writeResolvConf(path, nil); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if want := "nameserver 10.0.0.1\nnameserver 10.0.0.2\nnameserver fd00::3\noptions timeout:2 attempts:2\n"; err != nil || string(text) != want {
		t.Errorf("the file is %q, %v", text, err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("the file has the mode %v, %v", info.Mode(), err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("beside the file there are %v, %v", left, err)
	}
	if err := writeResolvConf(filepath.Join(dir, "missing", "resolv.conf"), servers); err == nil {
		t.Error("a file in a missing folder was written")
	}
}

func TestLinkLocalCandidate_GivesDistinctAddressesInRange(t *testing.T) {
	low, high := netip.MustParseAddr("169.254.1.0"), netip.MustParseAddr("169.254.254.255")
	seen := map[netip.Prefix]bool{}
	for n := range 2000 {
		mac := net.HardwareAddr{0xb8, 0x27, 0xeb, 0, byte(n >> 8), byte(n)}
		for attempt := range linkLocalAttempts {
			candidate := linkLocalCandidate(mac, attempt)
			if candidate.Addr().Less(low) || high.Less(candidate.Addr()) || candidate.Bits() != 16 {
				t.Fatalf("%s is out of the range", candidate)
			}
			seen[candidate] = true
		}
	}
	// 20000 draws of 65024 leave about 17200 different ones.
	if len(seen) < 15000 {
		t.Errorf("got %d different addresses in 20000 draws", len(seen))
	}
}

func TestCheckGateway_AcceptsOnlyOtherHostsOfTheSubnet(t *testing.T) {
	address := netip.MustParsePrefix("10.1.0.9/24")
	for gateway, valid := range map[string]bool{
		"10.1.0.1": true, "10.1.0.254": true,
		"10.1.0.9": false, "10.1.0.0": false, "10.1.0.255": false, "10.1.1.1": false, "0.0.0.0": false, "fd00::1": false,
	} {
		if err := checkGateway(netip.MustParseAddr(gateway), address); (err == nil) != valid {
			t.Errorf("%s: got %v, want valid %t", gateway, err, valid)
		}
	}
	if err := checkGateway(netip.Addr{}, address); err == nil {
		t.Error("an empty gateway was accepted")
	}
}

func TestARPSender_ReadsTheSenderOfAPacket(t *testing.T) {
	p := port{mac: net.HardwareAddr{2, 0, 0, 0, 0, 7}}
	packet := p.request(netip.MustParseAddr("10.0.0.7"), netip.MustParseAddr("10.0.0.1"))
	mac, ip, ok := arpSender(packet)
	if !ok || mac.String() != p.mac.String() || ip.String() != "10.0.0.7" || len(packet) != arpSize {
		t.Errorf("%s %s %v of %d octets", mac, ip, ok, len(packet))
	}
	for cut := range packet {
		if _, _, ok := arpSender(packet[:cut]); ok {
			t.Errorf("%d octets were read as a packet", cut)
		}
	}
}

func FuzzARPSender(f *testing.F) {
	p := port{mac: net.HardwareAddr{2, 0, 0, 0, 0, 7}}
	f.Add(p.request(netip.MustParseAddr("10.0.0.7"), netip.MustParseAddr("10.0.0.1")))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, packet []byte) {
		mac, ip, ok := arpSender(packet)
		if ok && (len(mac) != 6 || !ip.Is4()) {
			t.Errorf("%s %s", mac, ip)
		}
	})
}
