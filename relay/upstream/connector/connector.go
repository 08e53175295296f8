// Package connector is the way out by an Exchange Online connector: port 25 of
// the tenant's MX host, STARTTLS, and a client certificate by which Exchange
// Online knows whose mail it is.
//
// It knows connections, TLS and what Exchange Online wants to be shown. It
// must not know where the key lives, what becomes of a message that was
// refused, or who the LAN clients are.
package connector

import (
	"context"
	"crypto"
	"crypto/x509"
	"net"
	"net/netip"
	"time"

	"sealpost/relay/envelope"
	"sealpost/relay/journal"
	"sealpost/relay/reply"
	"sealpost/relay/upstream"
	"sealpost/relay/upstream/esmtp"
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
	Hello       string         // our name in EHLO
	Host        string         // fixed host; empty means the MX of Domain
	Domain      string         // an accepted domain of the tenant
	Port        int            // 25 unless a test says otherwise
	Roots       *x509.CertPool // nil means the system's
	Identity    *Identity      // nil shows no certificate
	Connections int            // the most that are open at once
	Patience    time.Duration  // the longest wait for any one reply
	Resolver    Resolver
}

// idleAfter is how long a connection is kept for the next message.
const idleAfter = 30 * time.Second

// Connector delivers messages over a few connections that it keeps for reuse.
type Connector struct {
	config   Config
	journal  *journal.Journal
	sessions *sessions
	pool     *pool
}

// New gives a connector; it opens no connection yet.
func New(config Config, j *journal.Journal) *Connector {
	c := &Connector{config: config, journal: j, sessions: newSessions()}
	c.pool = newPool(config.Connections, idleAfter, c.open)
	return c
}

// Close ends the connections that are idle. Messages on their way are left to
// finish; their connections close after them.
func (c *Connector) Close() { c.pool.close() }

// Deliver offers one message. Once every recipient was answered, judge decides
// whether the content is sent to those accepted. The error is always an
// *upstream.Unavailable: nobody got the message then, as far as can be known.
func (c *Connector) Deliver(ctx context.Context, e envelope.Envelope, content envelope.Content,
	judge func([]reply.Reply) bool) (upstream.Result, error) {
	link, answers, err := c.offer(ctx, e)
	if err != nil {
		return upstream.Result{}, c.unavailable(ctx, err)
	}
	result := upstream.Result{Answers: answers, Connection: link.record}
	if !judge(answers) {
		c.giveUp(ctx, link)
		return result, nil
	}
	final, err := link.client.Content(ctx, content)
	if err != nil {
		c.pool.drop(link)
		return upstream.Result{}, c.unavailable(ctx, &onHost{link.record.Host, &overMessage{err}})
	}
	for i, answer := range answers {
		if answer.Positive() {
			answers[i] = final
		}
	}
	result.Taken = final.Positive()
	c.pool.give(link)
	return result, nil
}

// offer opens a transaction on a connection. One that was kept may have been
// closed by the server meanwhile; that says nothing about the message, and the
// next one is tried.
func (c *Connector) offer(ctx context.Context, e envelope.Envelope) (*link, []reply.Reply, error) {
	for {
		link, err := c.pool.take(ctx)
		if err != nil {
			return nil, nil, err
		}
		mail, answers, err := link.client.Offer(ctx, e)
		if err == nil {
			return link, answers, nil
		}
		c.pool.drop(link)
		stale := link.used && (mail.Code == 0 || mail.Code == esmtp.ServiceClosing)
		if !stale || ctx.Err() != nil {
			return nil, nil, &onHost{link.record.Host, &overMessage{err}}
		}
	}
}

func (c *Connector) giveUp(ctx context.Context, l *link) {
	if err := l.client.Reset(ctx); err != nil {
		c.pool.drop(l)
		return
	}
	c.pool.give(l)
}
