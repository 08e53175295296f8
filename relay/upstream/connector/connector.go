// Package connector delivers through an Exchange Online connector: port 25 of
// the tenant's MX host, STARTTLS, and a client certificate by which Exchange
// Online identifies the tenant.
//
// It knows connections, TLS and what Exchange Online requires. It must not know
// where the key is stored, what happens to a rejected message, or who the LAN
// clients are.
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
	"sealpost/relay/upstream"
	"sealpost/relay/upstream/esmtp"
	"sealpost/relay/upstream/transport"
)

// Identity is the client certificate for Exchange Online.
type Identity struct {
	Chain [][]byte      // DER, leaf first; the whole chain is sent
	Key   crypto.Signer // the leaf's private key
	Name  string        // the leaf's subject, for people
	Label string        // how the key is protected, for people
}

// Resolver finds mail hosts; *net.Resolver is one.
type Resolver interface {
	LookupMX(ctx context.Context, domain string) ([]*net.MX, error)
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Config is the configuration of a connector.
type Config struct {
	Hello        string         // EHLO argument
	Host         string         // fixed host; empty means the MX of Domain
	Domain       string         // an accepted domain of the tenant
	MailHosts    []string       // what the names of Exchange Online's MX hosts end in
	Port         int            // 25, except in tests
	Roots        *x509.CertPool // nil means the system roots
	Identity     *Identity      // nil sends no certificate
	Connections  int            // maximum open at once
	ReplyTimeout time.Duration  // maximum wait for one reply
	Resolver     Resolver
}

// Connector delivers messages to the tenant's MX, authenticated by the client
// certificate.
type Connector struct {
	transport *transport.Transport
	to        transport.Destination // of all mail
}

// New returns a connector without open connections.
func New(config Config, j *journal.Journal) *Connector {
	return &Connector{to: transport.Destination{Domain: config.Domain}, transport: transport.New(transport.Config{
		Hello:        config.Hello,
		HostName:     cmp.Or(config.Host, "the tenant"),
		Settings:     "senders.accepted_domains and upstream.connector.host",
		Port:         config.Port,
		Roots:        config.Roots,
		Connections:  config.Connections,
		ReplyTimeout: config.ReplyTimeout,
		Resolver:     config.Resolver,
	}, method{config}, j)}
}

// Close closes idle connections. Active messages finish; their connections
// close afterwards.
func (c *Connector) Close() { c.transport.Close() }

// Account returns "": Exchange Online's limits on a connector apply to the
// whole site.
func (c *Connector) Account(envelope.Envelope) string { return "" }

// Deliver offers one message in one transaction. The error is always an
// *upstream.Unavailable; no recipient has received the message then, as far as is
// known.
func (c *Connector) Deliver(ctx context.Context, e envelope.Envelope, content envelope.Content,
	tx upstream.Transactions) (upstream.Result, error) {
	return c.transport.Deliver(ctx, c.to, e, content, tx)
}

// method is the connector's part of the transport: the tenant's MX, and our
// certificate.
type method struct{ config Config }

// NewHandshake implements transport.Method.
func (w method) NewHandshake(record *journal.Connection, _ string) transport.Handshake {
	return &handshake{w.config, record}
}

// handshake sends the certificate on one connection.
type handshake struct {
	config Config
	record *journal.Connection
}

// Certificate implements transport.Handshake.
func (i *handshake) Certificate() *tls.Certificate {
	identity := i.config.Identity
	if identity == nil {
		return &tls.Certificate{}
	}
	i.record.Shown, i.record.Key = identity.Name, identity.Label
	return &tls.Certificate{Certificate: identity.Chain, PrivateKey: identity.Key}
}

// Authenticate implements transport.Handshake. With TLS 1.3 a server reports a
// rejected certificate only now.
func (i *handshake) Authenticate(ctx context.Context, client *esmtp.Client) error {
	err := client.Hello(ctx, i.config.Hello)
	if err != nil && i.record.Shown != "" {
		return &afterCertificate{err}
	}
	return err
}

// Hosts implements transport.Method: it returns the fixed host, or the domain's
// MX hosts that belong to Exchange Online.
func (w method) Hosts(ctx context.Context, to transport.Destination) ([]transport.Host, error) {
	if w.config.Host != "" {
		return []transport.Host{{Name: w.config.Host}}, nil
	}
	records, err := w.config.Resolver.LookupMX(ctx, to.Domain)
	if err != nil {
		return nil, fmt.Errorf("looking up the MX of %s: %w", to.Domain, err)
	}
	var hosts []transport.Host
	for _, mx := range records {
		host := strings.ToLower(strings.TrimSuffix(mx.Host, "."))
		if w.isExchangeOnline(host) {
			hosts = append(hosts, transport.Host{Name: host})
		}
	}
	if len(hosts) == 0 {
		return nil, &foreignMX{to.Domain, records}
	}
	const maxHosts = 3
	return hosts[:min(len(hosts), maxHosts)], nil
}

// isExchangeOnline judges a mail host by its name. Any other MX is a filter in
// front of the tenant, which does not know our connector, or a forged response:
// DNS is not authenticated.
func (w method) isExchangeOnline(host string) bool {
	return slices.ContainsFunc(w.config.MailHosts, func(suffix string) bool { return strings.HasSuffix(host, suffix) })
}

// foreignMX is the error of a domain whose MX is not Exchange Online.
type foreignMX struct {
	domain  string
	records []*net.MX
}

func (f *foreignMX) Error() string {
	names := "none"
	if len(f.records) > 0 {
		names = strconv.Quote(strings.TrimSuffix(f.records[0].Host, "."))
	}
	return fmt.Sprintf("the MX of %s is %s, not an Exchange Online host: set upstream.connector.host to the tenant's own host, or upstream.cloud to the tenant's cloud", f.domain, names)
}
