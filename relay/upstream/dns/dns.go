// Package dns makes a resolver for the system's name servers or for given ones.
//
// It knows how a resolver reaches its servers. It must not know what is asked,
// or what an answer is used for.
package dns

import (
	"context"
	"net"
	"net/netip"
	"sync/atomic"
	"time"
)

// dialTimeout is the time to connect to one name server.
const dialTimeout = 5 * time.Second

// Resolver returns a resolver that uses the servers in turn, or the system's if
// there are none.
func Resolver(servers []netip.AddrPort) *net.Resolver {
	if len(servers) == 0 {
		return &net.Resolver{PreferGo: true}
	}
	var asked atomic.Uint32
	dialer := net.Dialer{Timeout: dialTimeout}
	return &net.Resolver{
		PreferGo: true,
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			next := asked.Add(1) - 1
			return dialer.DialContext(ctx, network, servers[int(next)%len(servers)].String())
		},
	}
}
