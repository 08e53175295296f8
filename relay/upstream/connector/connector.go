// Package connector is the way out by an Exchange Online connector: port 25 of
// the tenant's MX host, STARTTLS, and a client certificate by which Exchange
// Online knows whose mail it is.
//
// It knows connections, TLS and what Exchange Online wants to be shown. It
// must not know where the key lives, what becomes of a message that was
// refused, or who the LAN clients are.
package connector

import (
	"cmp"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"sealpost/relay/envelope"
	"sealpost/relay/journal"
	"sealpost/relay/reply"
	"sealpost/relay/upstream"
	"sealpost/relay/upstream/esmtp"
	"sealpost/relay/upstream/transport"
)

// Identity is what the box shows to Exchange Online.
type Identity struct {
	Chain [][]byte      // DER, leaf first; the whole chain is sent
	Key   crypto.Signer // the leaf's
	Name  string        // the leaf's subject, for people
	Label string        // how the key is protected, for people
}

// Resolver finds mail hosts; *net.Resolver is one.
type Resolver interface {
	LookupMX(ctx context.Context, domain string) ([]*net.MX, error)
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Config is what a connector needs to know.
type Config struct {
	Hello        string         // our name in EHLO
	Host         string         // fixed host; empty means the MX of Domain
	Domain       string         // an accepted domain of the tenant
	Port         int            // 25 unless a test says otherwise
	Roots        *x509.CertPool // nil means the system's
	Identity     *Identity      // nil shows no certificate
	Connections  int            // the most that are open at once
	ReplyTimeout time.Duration  // the longest wait for any one reply
	Resolver     Resolver
}

// Connector delivers messages as the tenant's own server, which its certificate
// makes it.
type Connector struct {
	transport *transport.Transport
	to        transport.Destination // of all mail
}

// New gives a connector; it opens no connection yet.
func New(config Config, j *journal.Journal) *Connector {
	return &Connector{to: transport.Destination{Domain: config.Domain}, transport: transport.New(transport.Config{
		Hello:        config.Hello,
		FarSide:      cmp.Or(config.Host, "the tenant"),
		Settings:     "senders.accepted_domains and upstream.connector.host",
		Port:         config.Port,
		Roots:        config.Roots,
		Connections:  config.Connections,
		ReplyTimeout: config.ReplyTimeout,
		Resolver:     config.Resolver,
	}, way{config}, j)}
}

// Close ends the connections that are idle. Messages on their way are left to
// finish; their connections close after them.
func (c *Connector) Close() { c.transport.Close() }

// Account is empty: Exchange Online's limits on a connector are the site's.
func (c *Connector) Account(envelope.Envelope) string { return "" }

// Deliver offers one message. Once every recipient was answered, shouldSend
// decides whether the content is sent to those accepted. The error is always an
// *upstream.Unavailable: nobody got the message then, as far as can be known.
func (c *Connector) Deliver(ctx context.Context, e envelope.Envelope, content envelope.Content,
	shouldSend func([]reply.Reply) bool) (upstream.Result, error) {
	return c.transport.Deliver(ctx, c.to, e, content, shouldSend)
}

// way is what a connector has of its own: the tenant's MX, and our certificate.
type way struct{ config Config }

// Introduce implements transport.Way.
func (w way) Introduce(record *journal.Connection, _ string) transport.Handshake {
	return &handshake{w.config, record}
}

// handshake shows the certificate on one connection.
type handshake struct {
	config Config
	record *journal.Connection
}

// Certificate implements transport.Introduction.
func (i *handshake) Certificate() *tls.Certificate {
	identity := i.config.Identity
	if identity == nil {
		return &tls.Certificate{}
	}
	i.record.Shown, i.record.Key = identity.Name, identity.Label
	return &tls.Certificate{Certificate: identity.Chain, PrivateKey: identity.Key}
}

// Authenticate implements transport.Introduction. With TLS 1.3 a server that refuses
// our certificate says so only now.
func (i *handshake) Authenticate(ctx context.Context, client *esmtp.Client) error {
	err := client.Hello(ctx, i.config.Hello)
	if err != nil && i.record.Shown != "" {
		return &afterShowing{err}
	}
	return err
}

// Hosts implements transport.Way: the fixed host, or the MX hosts of the domain
// that are Exchange Online's.
func (w way) Hosts(ctx context.Context, to transport.Destination) ([]string, error) {
	if w.config.Host != "" {
		return []string{w.config.Host}, nil
	}
	records, err := w.config.Resolver.LookupMX(ctx, to.Domain)
	if err != nil {
		return nil, fmt.Errorf("looking up the MX of %s: %w", to.Domain, err)
	}
	var hosts []string
	for _, mx := range records {
		host := strings.ToLower(strings.TrimSuffix(mx.Host, "."))
		if IsExchangeOnline(host) {
			hosts = append(hosts, host)
		}
	}
	if len(hosts) == 0 {
		return nil, &foreignMX{to.Domain, records}
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
