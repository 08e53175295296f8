package settings

import (
	"net/netip"
	"testing"
)

func TestIsPublicNetwork_LooksAtTheWholeNetwork(t *testing.T) {
	for text, want := range map[string]bool{
		"10.0.0.0/8": false, "172.16.0.0/12": false, "192.168.0.0/16": false, "192.168.10.0/24": false, "127.0.0.0/8": false, "169.254.0.0/16": false,
		"203.0.113.0/24": false, "203.0.0.0/16": false, "2001:db8::/32": false, "fd00::/8": false, "fc00::/7": false, "fe80::/10": false,
		"0.0.0.0/0": true, "::/0": true, "203.0.0.0/15": true, "2000::/3": true,
		"10.0.0.0/1": true, "10.0.0.0/7": true, "172.16.0.0/11": true, "192.168.1.0/8": true, "127.0.0.1/0": true, "fc00::/6": true, "fd00::1/0": true, "fe80::1/3": true,
	} {
		if got := IsPublicNetwork(netip.MustParsePrefix(text)); got != want {
			t.Errorf("%s: got %v, want %v", text, got, want)
		}
	}
}
