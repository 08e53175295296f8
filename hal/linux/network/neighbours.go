//go:build linux

package network

import (
	"net/netip"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
)

// Neighbours returns hardware addresses from the kernel's table of neighbours (ARP,
// neighbour discovery). It keeps a copy for a moment, because reading the table takes
// longer than a connection may wait. It needs no privileges.
type Neighbours struct {
	mu     sync.Mutex // guards the rest; nothing else is locked under it
	read   time.Time
	copied map[netip.Addr]string
}

// The age of the copy at which the table is read again: for an address that is in it, and
// for one that is not.
const knownNeighbour, unknownNeighbour = 10 * time.Second, time.Second

// HardwareAddress returns the MAC address that an address of the box's own network has
// now, in lower case with colons; empty if the kernel knows none. Any machine of that
// network can claim another's, so it identifies a device but does not authenticate it.
func (n *Neighbours) HardwareAddress(address netip.Addr) string {
	address = address.Unmap().WithZone("")
	n.mu.Lock()
	defer n.mu.Unlock()
	mac, known := n.copied[address]
	age := time.Since(n.read)
	if known && age < knownNeighbour || !known && age < unknownNeighbour || address.IsLoopback() {
		return mac
	}
	n.read, n.copied = time.Now(), map[netip.Addr]string{}
	table, err := netlink.NeighList(0, netlink.FAMILY_ALL)
	if err != nil {
		return ""
	}
	for _, entry := range table {
		ip, ok := netip.AddrFromSlice(entry.IP)
		const ethernet = 6
		if ok && len(entry.HardwareAddr) == ethernet && entry.State&(netlink.NUD_FAILED|netlink.NUD_INCOMPLETE) == 0 {
			n.copied[ip.Unmap()] = entry.HardwareAddr.String()
		}
	}
	return n.copied[address]
}
