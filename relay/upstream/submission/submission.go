// Package submission is the way out by message submission (RFC 6409): port 587
// of one host, STARTTLS, and a login to a mailbox by OAuth (SASL XOAUTH2, or
// OAUTHBEARER of RFC 7628 where the host offers only that).
//
// It knows mailboxes, logins and what Exchange Online answers to them. It must
// not know how a token comes about, what becomes of a message that was
// refused, or who the LAN clients are.
package submission

import (
	"cmp"
	"context"
	"crypto/x509"
	"net/netip"
	"slices"
	"sync"
	"time"

	"sealpost/relay/envelope"
	"sealpost/relay/header"
	"sealpost/relay/journal"
	"sealpost/relay/reply"
	"sealpost/relay/report"
	"sealpost/relay/upstream"
	"sealpost/relay/upstream/transport"
)

// Resolver finds the addresses of the host; *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Config is what a submission needs to know.
type Config struct {
	Hello        string // our name in EHLO
	Host         string // smtp.office365.com, or a sovereign cloud's
	Port         int    // 587, or 465 with Immediate
	Security     transport.Security
	Roots        *x509.CertPool // nil means the system's
	Connections  int            // the most that are open at once
	PerMailbox   int            // the most of them for one mailbox; 0 is 3, as Exchange Online allows
	ReplyTimeout time.Duration  // the longest wait for any one reply
	Resolver     Resolver
	Tokens       Tokens
	// User is the mailbox that logs in for a sender, the null reverse-path too.
	User func(sender envelope.Address) envelope.Address
	// Trustee is the application that needs Send As; empty where it is the
	// mailbox.
	Trustee string
	// Default stands in for a sender as whom the mailbox may not send; empty
	// leaves such a message refused.
	Default envelope.Address
}

// perMailbox is how many connections Exchange Online allows a mailbox.
const perMailbox = 3

// Submission delivers messages as a mailbox's own client.
type Submission struct {
	config    Config
	journal   *journal.Journal
	transport *transport.Transport

	mu      sync.Mutex
	refused map[string]lastRefusal // by mailbox
}

// New gives a submission; it opens no connection yet.
func New(config Config, j *journal.Journal) *Submission {
	s := &Submission{config: config, journal: j, refused: make(map[string]lastRefusal)}
	s.transport = transport.New(transport.Config{
		Hello:          config.Hello,
		FarSide:        config.Host,
		Settings:       "upstream.submission.host",
		Port:           config.Port,
		Security:       config.Security,
		Roots:          config.Roots,
		Connections:    config.Connections,
		PerDestination: cmp.Or(config.PerMailbox, perMailbox),
		ReplyTimeout:   config.ReplyTimeout,
		Resolver:       config.Resolver,
	}, way{s}, j)
	return s
}

// Close ends the connections that are idle. Messages on their way are left to
// finish; their connections close after them.
func (s *Submission) Close() { s.transport.Close() }

// Account is the mailbox against whose limits a message counts.
func (s *Submission) Account(e envelope.Envelope) string { return string(s.config.User(e.Sender)) }

// Deliver offers one message. Once every recipient was answered, shouldSend
// decides whether the content is sent to those accepted; it is asked again where
// the message is sent anew under the default sender. The error is always an
// *upstream.Unavailable: nobody got the message then, as far as can be known.
func (s *Submission) Deliver(ctx context.Context, e envelope.Envelope, content envelope.Content,
	shouldSend func([]reply.Reply) bool) (upstream.Result, error) {
	account := s.Account(e)
	result, err := s.transport.Deliver(ctx, transport.Destination{Account: account}, e, content, shouldSend)
	result.Trustee = cmp.Or(s.config.Trustee, account)
	if err != nil || !deniesSender(result) || s.config.Default == "" {
		return result, err
	}
	return s.deliverAsDefault(ctx, e, content, shouldSend, result)
}

// deniesSender tells whether nobody got the message because the mailbox may not
// send as its sender.
func deniesSender(result upstream.Result) bool {
	return !result.Accepted && slices.ContainsFunc(result.Replies, report.IsSendAsDenied)
}

// deliverAsDefault sends the message anew with the default sender in its
// envelope and header; the header alone may be what was denied. Where that is
// denied too, the first denial stands: it names the sender that people know.
func (s *Submission) deliverAsDefault(ctx context.Context, e envelope.Envelope, content envelope.Content,
	shouldSend func([]reply.Reply) bool, denied upstream.Result) (upstream.Result, error) {
	as := e
	as.Sender = s.config.Default
	changed, err := header.ReplaceAuthor(content, string(as.Sender), string(e.Sender))
	if err != nil {
		return denied, nil
	}
	as.Size = changed.Size()
	account := s.Account(as)
	result, err := s.transport.Deliver(ctx, transport.Destination{Account: account}, as, changed, shouldSend)
	if err == nil && deniesSender(result) {
		return denied, nil
	}
	result.Trustee = cmp.Or(s.config.Trustee, account)
	if result.Accepted {
		s.journal.SenderReplaced(e.ID, e.Sender, as.Sender)
	}
	return result, err
}
