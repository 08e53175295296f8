// Package dns asks name servers: the system's, or those that the settings
// name.
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

// dialTimeout is how long one server may take to be reached.
const dialTimeout = 5 * time.Second

// Resolver gives a resolver that asks the servers in turn; without any, it
// asks the system's.
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
