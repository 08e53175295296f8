// Package submission delivers by message submission (RFC 6409): port 587 of one
// host, STARTTLS, and a login to a mailbox by OAuth (SASL XOAUTH2, or
// OAUTHBEARER of RFC 7628 if the host offers only that).
//
// It knows mailboxes, logins and Exchange Online's replies to them. It must not
// know how a token is obtained, what happens to a rejected message, or who the
// LAN clients are.
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
	"sealpost/relay/report"
	"sealpost/relay/upstream"
	"sealpost/relay/upstream/transport"
)

// Resolver finds the addresses of the host; *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Config is the configuration of a submission.
type Config struct {
	Hello        string // EHLO argument
	Host         string // smtp.office365.com, or a sovereign cloud's
	Port         int    // 587, or 465 with transport.ImplicitTLS
	Security     transport.Security
	Roots        *x509.CertPool // nil means the system roots
	Connections  int            // maximum open at once
	PerMailbox   int            // maximum for one mailbox; 0 means 3, Exchange Online's limit
	ReplyTimeout time.Duration  // maximum wait for one reply
	Resolver     Resolver
	Tokens       TokenProvider
	// User returns the mailbox that logs in for a sender, including the null one.
	User func(sender envelope.Address) envelope.Address
	// Trustee is the application that needs Send As; empty if it is the mailbox.
	Trustee string
	// DefaultSender replaces a sender as which the mailbox may not send; if empty,
	// such a message is rejected.
	DefaultSender envelope.Address
}

// defaultPerMailbox is Exchange Online's connection limit for a mailbox.
const defaultPerMailbox = 3

// Submission delivers messages as the client of a mailbox.
type Submission struct {
	config    Config
	journal   *journal.Journal
	transport *transport.Transport

	mu       sync.Mutex
	rejected map[string]rejectedToken // by mailbox
}

// New returns a submission without open connections.
func New(config Config, j *journal.Journal) *Submission {
	s := &Submission{config: config, journal: j, rejected: make(map[string]rejectedToken)}
	s.transport = transport.New(transport.Config{
		Hello:          config.Hello,
		HostName:       config.Host,
		Settings:       "upstream.submission.host",
		Port:           config.Port,
		Security:       config.Security,
		Roots:          config.Roots,
		Connections:    config.Connections,
		PerDestination: cmp.Or(config.PerMailbox, defaultPerMailbox),
		ReplyTimeout:   config.ReplyTimeout,
		Resolver:       config.Resolver,
	}, method{s}, j)
	return s
}

// Close closes idle connections. Active messages finish; their connections
// close afterwards.
func (s *Submission) Close() { s.transport.Close() }

// Account returns the mailbox against whose limits a message counts.
func (s *Submission) Account(e envelope.Envelope) string { return string(s.config.User(e.Sender)) }

// Deliver offers one message in one transaction, and in another one if it is
// resent with the default sender, for which tx.ShouldSend is called again. The
// error is always an *upstream.Unavailable; no recipient has received the message
// then, as far as is known.
func (s *Submission) Deliver(ctx context.Context, e envelope.Envelope, content envelope.Content,
	tx upstream.Transactions) (upstream.Result, error) {
	account := s.Account(e)
	result, err := s.transport.Deliver(ctx, transport.Destination{Account: account}, e, content, tx)
	result.Trustee = cmp.Or(s.config.Trustee, account)
	if err != nil || !isSenderDenied(result) || s.config.DefaultSender == "" {
		return result, err
	}
	return s.deliverAsDefault(ctx, e, content, tx, result)
}

// isSenderDenied reports whether the message was not accepted because the
// mailbox may not send as its sender.
func isSenderDenied(result upstream.Result) bool {
	return !result.Accepted && slices.ContainsFunc(result.Replies, report.IsSendAsDenied)
}

// deliverAsDefault sends the message with the default sender in envelope and
// header; the header alone may have been denied. If that is denied too, it
// returns the first denial, which names the original sender.
func (s *Submission) deliverAsDefault(ctx context.Context, e envelope.Envelope, content envelope.Content,
	tx upstream.Transactions, denied upstream.Result) (upstream.Result, error) {
	resent := e
	resent.Sender = s.config.DefaultSender
	// Notifications of the server go to the default sender, who did not request those of success.
	resent.DSN = e.DSN.WithoutSuccess()
	changed, err := header.ReplaceAuthor(content, string(resent.Sender), string(e.Sender))
	if err != nil {
		return denied, nil
	}
	resent.Size = changed.Size()
	account := s.Account(resent)
	result, err := s.transport.Deliver(ctx, transport.Destination{Account: account}, resent, changed, tx)
	if err == nil && isSenderDenied(result) {
		return denied, nil
	}
	result.Trustee = cmp.Or(s.config.Trustee, account)
	result.DSN = false
	if result.Accepted {
		s.journal.SenderReplaced(e.ID, e.Sender, resent.Sender)
	}
	return result, err
}
