package appliance

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"sealpost/hal/linux/mdns"
	"sealpost/hal/linux/network"
)

// networkPort is the box's port on the site's network.
type networkPort struct {
	*group
	manager *network.Manager
	// addresses are the newest addresses, for mDNS.
	addresses chan []netip.Prefix
}

func newNetworkPort(g *group, m *network.Manager) *networkPort {
	return &networkPort{group: g, manager: m, addresses: make(chan []netip.Prefix, 1)}
}

func (n *networkPort) apply(c network.Config) { n.manager.Apply(c) }

func (n *networkPort) status() network.Status { return n.manager.Status() }

// start configures the port and reports changes. mDNS starts after the first
// greeting.
func (n *networkPort) start(name func() string, awaitMail, changed func()) {
	n.keep("network", n.manager.Run)
	n.spawn(func(context.Context) {
		awaitMail()
		n.keep("mDNS", func(ctx context.Context) error {
			port := n.status().Interface
			if port == "" {
				return nil
			}
			return mdns.Run(ctx, port, name, n.addresses)
		})
	})
	n.spawn(func(ctx context.Context) { n.follow(ctx, changed) })
}

// follow logs changes of the network.
func (n *networkPort) follow(ctx context.Context, changed func()) {
	// A port and its link take some seconds to come up, which is no fault.
	const settleTime = 5 * time.Second
	settled := time.After(settleTime)
	for last := ""; ; {
		select {
		case <-ctx.Done():
			return
		case <-settled:
			settled = nil
		case <-n.manager.Changes():
		}
		s := n.status()
		if settled != nil && s.Trouble != "" {
			continue
		}
		var addresses []string
		for _, a := range s.Addresses {
			addresses = append(addresses, a.String())
		}
		now := fmt.Sprint(s.Method, addresses, s.Trouble)
		if now == last {
			continue
		}
		last = now
		n.journal.Network(s.Method, addresses, s.Trouble)
		select {
		case <-n.addresses: // drop the outdated list
		default:
		}
		n.addresses <- s.Addresses
		changed()
	}
}
