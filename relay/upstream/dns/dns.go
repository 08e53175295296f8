// Package dns makes a resolver for the system's name servers or for given ones.
//
// It knows how a resolver reaches its servers, and the records that package net does not
// look up. It must not know what an answer is used for.
package dns

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// dialTimeout is the time to connect to one name server.
const dialTimeout = 5 * time.Second

// Resolver asks name servers. Its errors name the servers that were asked.
type Resolver struct {
	inner   *net.Resolver
	servers string // comma-separated; empty for the system's
	trusted bool   // its servers validate, and nobody can change their answers on the way
	tls     *tls.Config
}

// New returns a resolver that uses the servers in turn, or the system's if there
// are none.
func New(servers []netip.AddrPort) *Resolver {
	r := &Resolver{inner: &net.Resolver{PreferGo: true}}
	if len(servers) == 0 {
		return r
	}
	names := make([]string, len(servers))
	for i, server := range servers {
		names[i] = server.String()
	}
	var next atomic.Uint32
	dialer := net.Dialer{Timeout: dialTimeout}
	r.servers = strings.Join(names, ", ")
	r.inner.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
		server := names[int(next.Add(1)-1)%len(names)]
		if a, ok := ctx.Value(queriedServersKey{}).(*queriedServers); ok {
			a.add(server)
		}
		return dialer.DialContext(ctx, network, server)
	}
	return r
}

// NewValidating returns a resolver whose server validates answers by DNSSEC and is
// trusted to: on this machine, or reached over TLS, as secure demands, unless that is nil.
// Only what package net cannot look up uses it: [Resolver.MX], [Resolver.Addresses],
// [Resolver.TXT] and [Resolver.LookupTLSA].
func NewValidating(server netip.AddrPort, secure *tls.Config) *Resolver {
	r := New([]netip.AddrPort{server})
	r.trusted, r.tls = true, secure
	return r
}

// ForDialer returns the resolver for a net.Dialer. The errors of its lookups
// name the system's servers, whichever were asked.
func (r *Resolver) ForDialer() *net.Resolver { return r.inner }

// LookupMX returns the MX records of a domain, sorted by preference.
func (r *Resolver) LookupMX(ctx context.Context, domain string) ([]*net.MX, error) {
	var q queriedServers
	records, err := r.inner.LookupMX(context.WithValue(ctx, queriedServersKey{}, &q), domain)
	return records, r.correct(err, &q)
}

// LookupNetIP returns the addresses of a host.
func (r *Resolver) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	var q queriedServers
	addresses, err := r.inner.LookupNetIP(context.WithValue(ctx, queriedServersKey{}, &q), network, host)
	return addresses, r.correct(err, &q)
}

// correct names the servers that were asked in the error of a lookup: package net
// names those of resolv.conf, even if its resolver dials others.
func (r *Resolver) correct(err error, q *queriedServers) error {
	fault, ok := errors.AsType[*net.DNSError](err)
	if !ok || r.servers == "" || fault.Server == "" {
		return err
	}
	corrected := *fault // lookups at the same time share the error
	corrected.Server = cmp.Or(q.String(), r.servers)
	return &corrected
}

// queriedServers are the servers that one lookup asked. They are empty if
// the result was shared with a simultaneous lookup.
type queriedServers struct {
	mu      sync.Mutex
	servers []string
}

type queriedServersKey struct{}

func (q *queriedServers) add(server string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !slices.Contains(q.servers, server) {
		q.servers = append(q.servers, server)
	}
}

func (q *queriedServers) String() string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return strings.Join(q.servers, ", ")
}
