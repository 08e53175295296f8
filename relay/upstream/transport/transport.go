// Package transport brings messages to a mail host: it finds the host, goes
// over to TLS with a certificate that verifies, and keeps the connection for
// the next message. It is what the ways out by one host have in common.
//
// It knows connections and what can stand in their way. It must not know by
// what a host lets us send, which is the Way's own, what becomes of a message
// that was refused, or who the LAN clients are.
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

// Way is what one way out has of its own.
type Way interface {
	// Hosts names the mail hosts of a destination, in the order in which they are
	// tried (RFC 5321 section 5.1).
	Hosts(ctx context.Context, to Destination) ([]string, error)
	// Introduce begins to tell the host of the record whose mail the box
	// brings, and completes the record. The account is the Destination's.
	Introduce(record *journal.Connection, account string) Handshake
	// Words puts an error of the way's own into words for the technician; the
	// reason is empty where it is none.
	Words(host string, err error) (status reply.Status, reason string, code fault.Code)
}

// Destination is where a connection leads, and whose it is. Connections are
// kept for messages to the same destination only.
type Destination struct {
	Domain  string // whose mail hosts are asked for; empty where the Way needs none
	Account string // who logs in; empty where the Way knows no accounts
}

// Handshake tells a host whose mail the box brings, on one connection.
type Handshake interface {
	// Certificate answers the server's request for one; a *tls.Certificate that
	// is empty shows none. Its key must be a crypto.Signer.
	Certificate() *tls.Certificate
	// Authenticate says EHLO under TLS and what else has to come before mail.
	Authenticate(ctx context.Context, client *esmtp.Client) error
}

// Resolver finds the addresses of hosts; *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Security says how a connection goes over to TLS.
type Security int

// Without TLS nothing is ever sent.
const (
	STARTTLS  Security = iota // by the command (RFC 3207)
	Immediate                 // before the greeting (RFC 8314 section 3.3)
)

// Config is what a transport needs to know.
type Config struct {
	Hello       string         // our name in EHLO
	FarSide     string         // for people, where no host is known
	Settings    string         // those that name the host, for advice
	Port        int            // of every host
	Security    Security       // STARTTLS unless said otherwise
	Roots       *x509.CertPool // nil means the system's
	Connections int            // the most that are open at once
	// PerDestination is the most that are open at once to one destination; 0 is no
	// other limit.
	PerDestination int
	ReplyTimeout   time.Duration // the longest wait for any one reply
	Resolver       Resolver
}

// idleAfter is how long a connection is kept for the next message.
const idleAfter = 30 * time.Second

// Transport delivers messages over a few connections that it keeps for reuse.
type Transport struct {
	config   Config
	way      Way
	journal  *journal.Journal
	sessions *sessions
	pool     *pool
}

// New gives a transport; it opens no connection yet.
func New(config Config, way Way, j *journal.Journal) *Transport {
	t := &Transport{config: config, way: way, journal: j, sessions: newSessions()}
	t.pool = newPool(config.Connections, config.PerDestination, idleAfter, t.open)
	return t
}

// Close ends the connections that are idle. Messages on their way are left to
// finish; their connections close after them.
func (t *Transport) Close() { t.pool.close() }

// Deliver offers one message over a connection to the destination. Once every
// recipient was answered, shouldSend decides whether the content is sent to
// those accepted. The error is always an
// *upstream.Unavailable: nobody got the message then, as far as can be known.
func (t *Transport) Deliver(ctx context.Context, to Destination, e envelope.Envelope, content envelope.Content,
	shouldSend func([]reply.Reply) bool) (upstream.Result, error) {
	link, answers, err := t.offer(ctx, to, e)
	if err != nil {
		return upstream.Result{}, t.unavailable(ctx, err)
	}
	result := upstream.Result{Replies: answers, Connection: link.record}
	if !shouldSend(answers) {
		t.giveUp(ctx, link, answers)
		return result, nil
	}
	final, err := link.client.Content(ctx, content)
	if err != nil {
		t.pool.drop(link)
		return upstream.Result{}, t.unavailable(ctx, &onHost{link.record.Host, &overMessage{err}})
	}
	for i, answer := range answers {
		if answer.Positive() {
			answers[i] = final
		}
	}
	result.Accepted = final.Positive()
	t.release(link, final)
	return result, nil
}

// offer opens a transaction on a connection. One that was kept may have been
// closed by the server meanwhile; that says nothing about the message, and the
// next one is tried.
func (t *Transport) offer(ctx context.Context, to Destination, e envelope.Envelope) (*link, []reply.Reply, error) {
	for {
		link, err := t.pool.take(ctx, to)
		if err != nil {
			return nil, nil, err
		}
		mail, answers, err := link.client.Offer(ctx, e)
		stale := link.stale(mail)
		if err == nil && !stale {
			return link, answers, nil
		}
		t.pool.drop(link)
		if !stale || ctx.Err() != nil {
			return nil, nil, &onHost{link.record.Host, &overMessage{err}}
		}
	}
}

// giveUp ends a transaction in which no content is sent.
func (t *Transport) giveUp(ctx context.Context, l *link, answers []reply.Reply) {
	if err := l.client.Reset(ctx); err != nil {
		t.pool.drop(l)
		return
	}
	t.release(l, answers...)
}

// release keeps the connection for the next message, unless the far side said
// that it has too many.
func (t *Transport) release(l *link, answers ...reply.Reply) {
	const tooMany = 432
	if slices.ContainsFunc(answers, func(r reply.Reply) bool { return r.Code == tooMany }) {
		t.pool.quit(l)
		return
	}
	t.pool.give(l)
}
