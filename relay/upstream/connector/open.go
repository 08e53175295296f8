package connector

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"sealpost/relay/journal"
	"sealpost/relay/upstream/esmtp"
)

// How long one address may take to answer a TCP connect, and all of a host's.
const (
	connectPatience = 10 * time.Second
	hostPatience    = 30 * time.Second
)

// open connects, goes over to TLS and greets: what it returns may carry mail.
func (c *Connector) open(ctx context.Context) (*link, error) {
	leave, err := c.sessions.enter(ctx)
	if err != nil {
		return nil, err
	}
	l, err := c.openAny(ctx)
	leave(err)
	return l, err
}

// openAny opens the first of the mail hosts that can be used.
func (c *Connector) openAny(ctx context.Context) (*link, error) {
	begun := time.Now()
	hosts, err := c.hosts(ctx)
	if err != nil {
		return nil, err
	}
	for _, host := range hosts {
		l, fault := c.openHost(ctx, host)
		if fault == nil {
			c.journal.Connected(l.record, time.Since(begun))
			return l, nil
		}
		err = &onHost{host, fault}
		c.journal.ConnectFailed(host, err, time.Since(begun))
		if ctx.Err() != nil {
			break
		}
	}
	return nil, err
}

func (c *Connector) openHost(ctx context.Context, host string) (*link, error) {
	conn, err := c.dial(ctx, host)
	if err != nil {
		return nil, err
	}
	record := journal.Connection{ID: rand.Text()[:8], Host: host, Address: conn.RemoteAddr().String()}
	client, err := c.secure(ctx, conn, &record)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return &link{client: client, record: record}, nil
}

// secure holds the dialogue up to the second EHLO. Nothing of a message is
// said before it returns.
func (c *Connector) secure(ctx context.Context, conn net.Conn, record *journal.Connection) (*esmtp.Client, error) {
	client, err := esmtp.Dialogue(ctx, conn, c.journal.Conversation(record.ID), c.config.Patience)
	if err != nil {
		return nil, err
	}
	if err := client.Hello(ctx, c.config.Hello); err != nil {
		return nil, err
	}
	if !client.Offers("STARTTLS") {
		return nil, errNoTLS
	}
	shake := c.handshake(record)
	state, err := client.StartTLS(ctx, shake.config())
	if err != nil {
		return nil, errors.Join(shake.fault, err)
	}
	// With TLS 1.3 a server that refuses our certificate says so only now.
	if err := client.Hello(ctx, c.config.Hello); err != nil {
		if record.Shown != "" {
			err = &afterShowing{err}
		}
		return nil, err
	}
	shake.complete(state)
	return client, nil
}

// dial tries the host's addresses in turn, IPv4 first: Exchange Online takes
// IPv6 only from addresses with reverse DNS, which few sites have.
func (c *Connector) dial(ctx context.Context, host string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, hostPatience)
	defer cancel()
	addresses, err := c.addresses(ctx, host)
	if err != nil {
		return nil, err
	}
	dialer := net.Dialer{Timeout: connectPatience}
	var failures []error
	for _, address := range addresses {
		conn, err := dialer.DialContext(ctx, "tcp", netip.AddrPortFrom(address, uint16(c.config.Port)).String())
		if err == nil {
			return conn, nil
		}
		failures = append(failures, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(failures...)
}

func (c *Connector) addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	if address, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{address}, nil
	}
	addresses, err := c.config.Resolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	for i := range addresses {
		addresses[i] = addresses[i].Unmap()
	}
	slices.SortStableFunc(addresses, func(a, b netip.Addr) int { return a.BitLen() - b.BitLen() })
	const most = 6
	return addresses[:min(len(addresses), most)], nil
}

// hosts names the mail hosts to try, best first.
func (c *Connector) hosts(ctx context.Context) ([]string, error) {
	if c.config.Host != "" {
		return []string{c.config.Host}, nil
	}
	records, err := c.config.Resolver.LookupMX(ctx, c.config.Domain)
	if err != nil {
		return nil, fmt.Errorf("looking up the MX of %s: %w", c.config.Domain, err)
	}
	var hosts []string
	for _, mx := range records {
		host := strings.ToLower(strings.TrimSuffix(mx.Host, "."))
		if IsExchangeOnline(host) {
			hosts = append(hosts, host)
		}
	}
	if len(hosts) == 0 {
		return nil, &foreignMX{c.config.Domain, records}
	}
	const most = 3
	return hosts[:min(len(hosts), most)], nil
}

// exchangeOnline are the domains of Exchange Online's mail hosts, sovereign
// clouds included. An MX elsewhere is a filter in front of the tenant, which
// would not know our connector, or a forged answer: DNS proves nothing.
var exchangeOnline = []string{
	".mail.protection.outlook.com", ".mx.microsoft",
	".mail.protection.office365.us", ".mail.protection.partner.outlook.cn",
}

// IsExchangeOnline tells a mail host that is believed to be Exchange Online's
// for nothing but its name.
func IsExchangeOnline(host string) bool {
	return slices.ContainsFunc(exchangeOnline, func(domain string) bool { return strings.HasSuffix(host, domain) })
}

// foreignMX is the error of a domain whose mail does not go to Exchange Online.
type foreignMX struct {
	domain  string
	records []*net.MX
}

func (f *foreignMX) Error() string {
	names := "none"
	if len(f.records) > 0 {
		names = strconv.Quote(strings.TrimSuffix(f.records[0].Host, "."))
	}
	return fmt.Sprintf("the MX of %s is %s, not an Exchange Online host: set upstream.connector.host to the tenant's own host", f.domain, names)
}
