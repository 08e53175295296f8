// Package direct delivers to the mail hosts of each recipient's domain (RFC 5321 section
// 5), over TLS that the domain's own records, or else the public roots, verify.
//
// It knows MX records, MTA-STS, DANE, and one transaction for each domain. It must not
// know where policies and keys are stored, how a message is signed, what happens to a
// rejected message, or who the LAN clients are.
package direct

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sealpost/relay/envelope"
	"sealpost/relay/journal"
	"sealpost/relay/mime"
	"sealpost/relay/reply"
	"sealpost/relay/upstream"
	"sealpost/relay/upstream/dns"
	"sealpost/relay/upstream/esmtp"
	"sealpost/relay/upstream/mtasts"
	"sealpost/relay/upstream/transport"
)

// Resolver looks up records; *dns.Resolver is one. What it calls validated was validated
// by DNSSEC.
type Resolver interface {
	MX(ctx context.Context, domain string) (hosts []dns.MX, validated bool, err error)
	Addresses(ctx context.Context, host string) (addresses []netip.Addr, validated bool, err error)
	LookupTLSA(ctx context.Context, host string, port uint16) (records []dns.TLSA, validated bool, err error)
}

// Policies finds the MTA-STS policies of domains; *mtasts.Cache is one.
type Policies interface {
	Policy(ctx context.Context, domain string) (mtasts.Policy, error)
}

// Signer signs a message that is seven bits wide, such as by DKIM.
type Signer interface {
	Sign(e envelope.Envelope, content envelope.Content) (envelope.Content, error)
}

// TLS is what TLS a domain must have.
type TLS string

// From the strongest.
const (
	Verify  TLS = "verify"  // DANE, MTA-STS or a certificate under a public root
	Encrypt TLS = "encrypt" // TLS with any certificate
	May     TLS = "may"     // TLS if the host offers it, else in clear
)

// Config is the configuration of direct delivery.
type Config struct {
	Hello        string         // EHLO argument
	Port         int            // 25, except in tests
	Roots        *x509.CertPool // nil means the system roots
	Connections  int            // maximum open at once
	PerDomain    int            // maximum open to one domain
	ReplyTimeout time.Duration  // maximum wait for one reply
	Resolver     Resolver
	Policies     Policies
	Signer       Signer         // nil signs nothing
	Domains      map[string]TLS // by domain in lower case; Verify for any other
}

// Direct delivers messages to the mail hosts of their recipients.
type Direct struct {
	config    Config
	journal   *journal.Journal
	transport *transport.Transport
	reach     reach
}

// New returns a Direct without open connections.
func New(config Config, j *journal.Journal) *Direct {
	t := transport.Config{
		Hello:          config.Hello,
		HostName:       "the recipient's mail host",
		Settings:       "the recipient's domain",
		Port:           config.Port,
		Roots:          config.Roots,
		Connections:    config.Connections,
		PerDestination: config.PerDomain,
		ReplyTimeout:   config.ReplyTimeout,
	}
	t.BackOff.First, t.BackOff.Longest = time.Minute, 15*time.Minute
	return &Direct{config: config, journal: j, transport: transport.New(t, method{config, j}, j)}
}

// Close closes idle connections. Active messages finish; their connections
// close afterwards.
func (d *Direct) Close() { d.transport.Close() }

// Account returns the domain of the recipients, which is held back alone when its hosts
// fail; "" if there are several.
func (d *Direct) Account(e envelope.Envelope) string {
	domains := byDomain(e.Recipients)
	if len(domains) != 1 {
		return ""
	}
	return domains[0].name
}

// Deliver offers one message to the mail hosts of each recipient's domain, one domain
// after another. The error is an *upstream.Unavailable: of the only domain, or of the
// line, if several domains in a row cannot be reached. One of several domains that
// cannot be reached gives its recipients a transient reply, so that it does not hold the
// others' mail back.
func (d *Direct) Deliver(ctx context.Context, e envelope.Envelope, content envelope.Content, tx upstream.Transactions) (upstream.Result, error) {
	e, content, err := d.prepare(ctx, e, content)
	if err != nil {
		return upstream.Result{}, &upstream.Unavailable{Status: statusConfiguration, Configuration: true,
			Reason: "the message cannot be signed: " + err.Error(), Err: err}
	}
	result := upstream.Result{Replies: make([]reply.Reply, len(e.Recipients)), Hosts: make([]string, len(e.Recipients)), DSN: true}
	var unreachable *upstream.Unavailable
	stopped := false
	domains := byDomain(e.Recipients)
	for n, domain := range domains {
		one, err := d.transport.Deliver(ctx, transport.Destination{Domain: domain.name}, e.To(domain.recipients), content, upstream.Transactions{
			ShouldSend: func(replies []reply.Reply) bool {
				if !slices.ContainsFunc(replies, reply.Reply.Positive) {
					return false
				}
				stopped = !tx.ShouldSend(merge(result.Replies, domain.recipients, replies))
				return !stopped
			},
		})
		u := (*upstream.Unavailable)(nil)
		if errors.As(err, &u) {
			deadLine := d.reach.failed(domain.name, u)
			if !errors.As(err, new(*noMail)) && (deadLine || len(domains) == 1) {
				u.Account = !deadLine
				unreachable = u
			}
			one.Replies = slices.Repeat([]reply.Reply{replyTo(u)}, len(domain.recipients))
		} else {
			d.reach.succeeded()
			result.Connection = one.Connection
			for _, i := range domain.recipients {
				result.Hosts[i] = one.Connection.Host
			}
			d.journal.Transaction(e.ID, domain.name, one.Connection, one.Replies[0])
		}
		result.Replies = merge(result.Replies, domain.recipients, one.Replies)
		if u != nil && u.Unanswered {
			result.Unanswered = mark(result.Unanswered, len(e.Recipients), domain.recipients)
		}
		if one.Accepted {
			result.Accepted, result.DSN = true, result.DSN && one.DSN
		}
		if stopped {
			break
		}
		if n < len(domains)-1 {
			tx.Settled(result.Replies)
		}
	}
	if unreachable != nil && !slices.ContainsFunc(result.Replies, func(r reply.Reply) bool { return r.Positive() || r.Permanent() }) &&
		(len(domains) == 1 || result.Unanswered == nil) {
		return upstream.Result{}, unreachable
	}
	return result, nil
}

// prepare returns the message as it is sent to every domain: in seven bits, because a
// host on the way may recode it, which would break its signature (RFC 6376 section 5.3),
// and signed.
func (d *Direct) prepare(ctx context.Context, e envelope.Envelope, content envelope.Content) (envelope.Envelope, envelope.Content, error) {
	if e.EightBit || e.LongLines {
		content = mime.Recode(esmtp.Inspected(ctx, content), e.EightBit)
		e.EightBit, e.LongLines = false, false
	}
	if d.config.Signer != nil {
		signed, err := d.config.Signer.Sign(e, content)
		if err != nil {
			return e, nil, err
		}
		content = signed
	}
	e.Size = content.Size()
	return e, content, nil
}

// domain is the recipients of one domain, as indexes into the envelope's.
type domain struct {
	name       string
	recipients []int
}

// byDomain groups recipients by their domains, in the order of the first of each.
func byDomain(recipients []envelope.Address) []domain {
	var domains []domain
	for i, recipient := range recipients {
		name := recipient.Domain()
		n := slices.IndexFunc(domains, func(d domain) bool { return d.name == name })
		if n < 0 {
			n = len(domains)
			domains = append(domains, domain{name: name})
		}
		domains[n].recipients = append(domains[n].recipients, i)
	}
	return domains
}

// merge returns all replies with those of the recipients at indexes replaced.
func merge(all []reply.Reply, indexes []int, replies []reply.Reply) []reply.Reply {
	merged := slices.Clone(all)
	for n, i := range indexes {
		merged[i] = replies[n]
	}
	return merged
}

func mark(marked []bool, size int, indexes []int) []bool {
	if marked == nil {
		marked = make([]bool, size)
	}
	for _, i := range indexes {
		marked[i] = true
	}
	return marked
}

// replyTo returns the reply for the recipients of a domain that gave none: permanent if
// the domain accepts no mail, else transient.
func replyTo(u *upstream.Unavailable) reply.Reply {
	if none := (*noMail)(nil); errors.As(u, &none) {
		return none.reply
	}
	return u.ClientReply()
}

// noMail is the error of a domain that accepts no mail at all.
type noMail struct{ reply reply.Reply }

func (n *noMail) Error() string { return n.reply.Text }

func refusal(code, subject, detail int, format string, args ...any) *noMail {
	return &noMail{reply.New(code, subject, detail, "%s", fmt.Sprintf(format, args...))}
}

// isLiteral reports whether a domain is an address literal (RFC 5321 section 4.1.3).
func isLiteral(domain string) bool { return strings.HasPrefix(domain, "[") }
