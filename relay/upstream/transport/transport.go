// Package transport delivers messages to a mail host: it finds the host,
// switches to TLS with a verified certificate, and pools connections. All
// delivery methods share it.
//
// It knows connections and their errors. It must not know how a host
// authenticates us, which the Method implements, what happens to a rejected
// message, or who the LAN clients are.
package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"slices"
	"time"

	"sealpost/hal/fault"
	"sealpost/relay/envelope"
	"sealpost/relay/journal"
	"sealpost/relay/reply"
	"sealpost/relay/upstream"
	"sealpost/relay/upstream/esmtp"
)

// Method is the part that is specific to a delivery method.
type Method interface {
	// Hosts returns the mail hosts of a destination in the order to try (RFC
	// 5321 section 5.1).
	Hosts(ctx context.Context, to Destination) ([]Host, error)
	// NewHandshake returns the authentication for one connection, which
	// fills in the record. account is the Destination's.
	NewHandshake(record *journal.Connection, account string) Handshake
	// Describe describes an error of the method for people; reason is empty for
	// any other error.
	Describe(host string, err error) (status reply.Status, reason string, code fault.Code)
}

// Host is a mail host of a destination.
type Host struct {
	Name string
	// Secure returns the host's addresses, nil for those that the Resolver finds, and
	// what TLS it must have. It is called before each connection. Nil means a
	// certificate for the host's name under a trusted root.
	Secure func(ctx context.Context) ([]netip.Addr, TLSPolicy, error)
}

// TLSPolicy is what TLS a host must have.
type TLSPolicy struct {
	Name string // for people
	// Verify replaces the verification of the certificate.
	Verify func(tls.ConnectionState) error
	// Clear is set if mail may be sent in clear to a host that does not offer
	// STARTTLS.
	Clear bool
}

// verified is the policy of hosts without another one.
var verified = TLSPolicy{Name: "verified certificate"}

// Destination identifies connections that may be shared: reuse is limited to
// messages with the same destination.
type Destination struct {
	Domain  string // domain whose mail hosts are used; empty if the Method needs none
	Account string // account that logs in; empty if the Method has no accounts
}

// Handshake authenticates the box to a host on one connection.
type Handshake interface {
	// Certificate returns the client certificate; an empty *tls.Certificate
	// sends none. Its key must be a crypto.Signer.
	Certificate() *tls.Certificate
	// Authenticate sends EHLO under TLS and logs in.
	Authenticate(ctx context.Context, client *esmtp.Client) error
}

// Resolver finds the addresses of hosts; *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Security is how a connection switches to TLS.
type Security int

// Mail is sent without TLS only if the host's TLSPolicy allows it.
const (
	STARTTLS    Security = iota // the STARTTLS command (RFC 3207)
	ImplicitTLS                 // TLS from the start (RFC 8314 section 3.3)
)

// Config is the configuration of a transport.
type Config struct {
	Hello       string         // EHLO argument
	HostName    string         // for texts while no host is known
	Settings    string         // keys that name the host, for texts
	Port        int            // of every host
	Security    Security       // default STARTTLS
	Roots       *x509.CertPool // nil means the system roots
	Connections int            // maximum open at once
	// PerDestination is the maximum open at once to one destination; 0 means no
	// separate limit.
	PerDestination int
	ReplyTimeout   time.Duration // maximum wait for one reply
	Resolver       Resolver
	// BackOff is how long a host that failed is tried after the destination's other hosts,
	// at first and at most; it doubles. Zero means not at all.
	BackOff struct{ First, Longest time.Duration }
}

// idleTimeout is how long an idle connection is kept.
const idleTimeout = 30 * time.Second

// Transport delivers messages over a pool of connections.
type Transport struct {
	config   Config
	method   Method
	journal  *journal.Journal
	sessions *sessions
	backOff  *backOff
	pool     *pool
}

// New returns a transport without open connections.
func New(config Config, method Method, j *journal.Journal) *Transport {
	t := &Transport{config: config, method: method, journal: j, sessions: newSessions(), backOff: newBackOff(config.BackOff.First, config.BackOff.Longest)}
	t.pool = newPool(config.Connections, config.PerDestination, idleTimeout, t.open)
	return t
}

// Close closes idle connections. Active messages finish; their connections
// close afterwards.
func (t *Transport) Close() { t.pool.close() }

// Deliver offers one message to the destination in one transaction: the content
// is sent to the accepted recipients if tx.ShouldSend returns true. The error is
// always an *upstream.Unavailable; no recipient has received the message then, as
// far as is known.
func (t *Transport) Deliver(ctx context.Context, to Destination, e envelope.Envelope, content envelope.Content,
	tx upstream.Transactions) (upstream.Result, error) {
	conn, content, mail, replies, err := t.offer(ctx, to, e, content)
	if err != nil {
		return upstream.Result{}, t.unavailable(ctx, err)
	}
	result := upstream.Result{Mail: mail, Replies: replies, Connection: conn.record, DSN: conn.client.Offers("DSN")}
	if !tx.ShouldSend(replies) {
		t.resetAndRelease(ctx, conn, replies)
		return result, nil
	}
	final, err := conn.client.Content(ctx, content)
	if err != nil {
		t.pool.drop(conn)
		return upstream.Result{}, t.unavailable(ctx, &hostError{conn.record.Host, &transactionError{err}})
	}
	for i, rcptReply := range replies {
		if rcptReply.Positive() {
			replies[i] = final
		}
	}
	result.Accepted = final.Positive()
	t.release(conn, final)
	return result, nil
}

// offer starts a transaction, and returns the content as the server can take it. If a
// reused connection was closed by the server meanwhile, the next one is tried.
func (t *Transport) offer(ctx context.Context, to Destination, e envelope.Envelope, content envelope.Content) (
	conn *smtpConn, recoded envelope.Content, mail reply.Reply, recipients []reply.Reply, err error) {
	for {
		conn, err := t.pool.get(ctx, to)
		if err != nil {
			return nil, nil, reply.Reply{}, nil, err
		}
		offered, recoded := conn.client.Recode(ctx, e, content)
		mail, replies, err := conn.client.Offer(ctx, offered)
		stale := conn.stale(mail)
		if err == nil && !stale {
			return conn, recoded, mail, replies, nil
		}
		t.pool.drop(conn)
		if !stale || ctx.Err() != nil {
			return nil, nil, reply.Reply{}, nil, &hostError{conn.record.Host, &transactionError{err}}
		}
	}
}

// resetAndRelease ends a transaction without content.
func (t *Transport) resetAndRelease(ctx context.Context, conn *smtpConn, replies []reply.Reply) {
	if err := conn.client.Reset(ctx); err != nil {
		t.pool.drop(conn)
		return
	}
	t.release(conn, replies...)
}

// release keeps the connection for reuse, unless the server replied that there
// are too many.
func (t *Transport) release(conn *smtpConn, replies ...reply.Reply) {
	const tooManyConnections = 432
	if slices.ContainsFunc(replies, func(r reply.Reply) bool { return r.Code == tooManyConnections }) {
		t.pool.quit(conn)
		return
	}
	t.pool.put(conn)
}
