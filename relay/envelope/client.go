package envelope

import "net/netip"

// ClientNetwork is what a limit on a client counts: an IPv4 address, or the /64 of an
// IPv6 address, in which a device may take any address (RFC 4291 section 2.5.4).
func ClientNetwork(client netip.Addr) netip.Prefix {
	client = client.Unmap().WithZone("")
	bits := client.BitLen()
	if client.Is6() {
		const network = 64
		bits = network
	}
	prefix, _ := client.Prefix(bits)
	return prefix
}
