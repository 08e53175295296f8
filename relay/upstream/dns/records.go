package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// MX is a mail host of a domain (RFC 5321 section 5.1). The host of a null MX is "."
// (RFC 7505).
type MX struct {
	Preference uint16
	Host       string // without the final dot, in lower case
}

// MX returns the mail hosts of a domain in the order of the answer, none if there are
// none. validated is as in [Resolver.Addresses]. The error is a *net.DNSError; its
// IsNotFound is set if the domain does not exist.
func (r *Resolver) MX(ctx context.Context, domain string) (hosts []MX, validated bool, err error) {
	found, err := r.query(ctx, domain, dnsmessage.TypeMX)
	if err != nil {
		return nil, false, err
	}
	if found.notFound {
		return nil, false, notFound(domain)
	}
	for _, body := range found.records {
		if record, ok := body.(*dnsmessage.MXResource); ok {
			hosts = append(hosts, MX{record.Pref, hostName(record.MX)})
		}
	}
	return hosts, r.trusted && found.validated, nil
}

// Addresses returns the IPv4 and then the IPv6 addresses of a host, none if there are
// none. validated reports whether the answers were validated by DNSSEC by a server that
// the resolver trusts. The error is a *net.DNSError.
func (r *Resolver) Addresses(ctx context.Context, host string) (addresses []netip.Addr, validated bool, err error) {
	validated = r.trusted
	var failures []error
	missing := 0
	for _, kind := range []dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeAAAA} {
		found, err := r.query(ctx, host, kind)
		if err != nil {
			failures = append(failures, err)
			continue
		}
		if found.notFound {
			missing++
		}
		validated = validated && found.validated
		for _, body := range found.records {
			switch record := body.(type) {
			case *dnsmessage.AResource:
				addresses = append(addresses, netip.AddrFrom4(record.A))
			case *dnsmessage.AAAAResource:
				addresses = append(addresses, netip.AddrFrom16(record.AAAA).Unmap())
			}
		}
	}
	switch {
	case len(addresses) > 0:
		return addresses, validated && len(failures) == 0, nil
	case len(failures) > 0:
		return nil, false, failures[0]
	case missing > 0:
		return nil, false, notFound(host)
	}
	return nil, validated, nil
}

// TXT returns the text records of a name, each with its strings joined (RFC 7208 section
// 3.3), none if there are none. The error is a *net.DNSError.
func (r *Resolver) TXT(ctx context.Context, name string) ([]string, error) {
	found, err := r.query(ctx, name, dnsmessage.TypeTXT)
	if err != nil {
		return nil, err
	}
	var texts []string
	for _, body := range found.records {
		if record, ok := body.(*dnsmessage.TXTResource); ok {
			texts = append(texts, strings.Join(record.TXT, ""))
		}
	}
	return texts, nil
}

// DialContext connects to an address of a host, IPv4 first. It is for an http.Transport.
func (r *Resolver) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("connecting to %q: %w", address, err)
	}
	addresses := []netip.Addr{}
	if literal, err := netip.ParseAddr(host); err == nil {
		addresses = append(addresses, literal)
	} else if addresses, _, err = r.Addresses(ctx, host); err != nil {
		return nil, err
	}
	dialer := net.Dialer{Timeout: dialTimeout}
	failures := []error{}
	for _, each := range addresses {
		conn, err := dialer.DialContext(ctx, network, net.JoinHostPort(each.String(), port))
		if err == nil {
			return conn, nil
		}
		failures = append(failures, err)
	}
	if len(failures) == 0 {
		return nil, notFound(host)
	}
	return nil, errors.Join(failures...)
}

func notFound(name string) *net.DNSError {
	return &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

// hostName returns a host without its final dot; the root stays ".".
func hostName(name dnsmessage.Name) string {
	text := strings.ToLower(name.String())
	if text == "." {
		return text
	}
	return strings.TrimSuffix(text, ".")
}
