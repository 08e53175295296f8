package submission

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"time"

	"sealpost/hal/fault"
	"sealpost/relay/journal"
	"sealpost/relay/reply"
	"sealpost/relay/upstream/esmtp"
	"sealpost/relay/upstream/transport"
)

// way is what a submission has of its own: the host, and the login.
type way struct{ *Submission }

// Hosts implements transport.Way: the one host, whatever the destination, once
// there is a token to log in by.
func (w way) Hosts(ctx context.Context, _ transport.Destination) ([]string, error) {
	if _, err := w.token(ctx); err != nil {
		return nil, err
	}
	return []string{w.config.Host}, nil
}

// Introduce implements transport.Way.
func (w way) Introduce(record *journal.Connection, account string) transport.Handshake {
	return &login{w.Submission, record, account}
}

// login is one connection's.
type login struct {
	*Submission
	record  *journal.Connection
	account string
}

// Certificate implements transport.Introduction.
func (l *login) Certificate() *tls.Certificate { return &tls.Certificate{} }

// Authenticate implements transport.Introduction: it logs in. A token that the server
// does not take is tried once more as a new one; where that is not taken either
// the fault is another's than the token's, and until a login succeeds none is
// tried twice.
func (l *login) Authenticate(ctx context.Context, client *esmtp.Client) error {
	if err := client.Hello(ctx, l.config.Hello); err != nil {
		return err
	}
	if l.record.Mechanism = choose(client.Mechanisms()); l.record.Mechanism == "" {
		return &noMechanism{client.Mechanisms()}
	}
	token, err := l.token(ctx)
	if err != nil {
		return err
	}
	refusal := l.try(ctx, client, token)
	if !refusesToken(refusal) || !l.refuse(token) {
		return refusal
	}
	another, err := l.token(ctx)
	if err != nil {
		return err
	}
	if another == token {
		return refusal
	}
	err = l.try(ctx, client, another)
	switch {
	case refusesToken(err):
		l.refuse(another)
	case hungUp(err):
		return fmt.Errorf("%w: %w", transport.ErrAgain, err)
	}
	return err
}

func (s *Submission) token(ctx context.Context) (Token, error) {
	ctx, cancel := context.WithTimeout(ctx, s.config.ReplyTimeout)
	defer cancel()
	token, err := s.config.Tokens.Token(ctx)
	if err != nil {
		return "", &noToken{err}
	}
	return token, nil
}

// try logs in with the token.
func (l *login) try(ctx context.Context, client *esmtp.Client, token Token) error {
	mechanism := newBearer(l.record.Mechanism, l.account, token, l.config.Host, l.config.Port)
	err := client.Auth(ctx, mechanism)
	if refusal := (*esmtp.Refusal)(nil); errors.As(err, &refusal) {
		return l.refusal(refusal, mechanism.words())
	}
	if err != nil {
		return err
	}
	l.mu.Lock()
	delete(l.refused, l.account)
	l.mu.Unlock()
	l.record.Account = l.account
	return nil
}

// maxRefused mailboxes are remembered: senders with mailboxes of their own are
// named by the LAN. A mailbox that is forgotten only gets one login more.
const maxRefused = 1000

// lastRefusal is a token that a mailbox was refused by, with no login since.
type lastRefusal struct {
	token Token
	at    time.Time // when one was last given back for the mailbox's sake
}

// refuse gives the token back, and tells whether a new one may fare better: not
// where the mailbox was refused another one before. A token may be good for
// other mailboxes, so this one has it replaced only now and then.
func (l *login) refuse(token Token) bool {
	const often = 5 * time.Minute
	l.mu.Lock()
	before, known := l.refused[l.account]
	due, at := !known || time.Since(before.at) >= often, before.at
	if due {
		at = time.Now()
	}
	if !known && len(l.refused) >= maxRefused {
		clear(l.refused)
	}
	l.refused[l.account] = lastRefusal{token, at}
	l.mu.Unlock()
	if due {
		l.config.Tokens.Refuse(token)
	}
	return !known || before.token == token
}

// refusal is the error of a login that the server would not have. For good it
// is the mailbox's, which another may not share.
func (l *login) refusal(r *esmtp.Refusal, reason string) error {
	err := &LoginRefused{Account: l.account, refusal: r, reason: reason}
	if r.Reply.Permanent() {
		return &transport.AccountFault{Err: err}
	}
	return err
}

// LoginRefused is the error of a login that the server would not have.
type LoginRefused struct {
	Account string // the mailbox
	refusal *esmtp.Refusal
	reason  string // the server's, from before its answer
}

func (l *LoginRefused) Error() string {
	text := fmt.Sprintf("the login of %s was refused: %s", l.Account, l.refusal.Reply)
	if l.reason != "" {
		text += " (" + l.reason + ")"
	}
	return text
}

func (l *LoginRefused) Unwrap() error { return l.refusal }

// Configuration tells that the login will be refused until somebody changes
// something.
func (l *LoginRefused) Configuration() bool { return l.refusal.Reply.Permanent() }

// refusesToken tells whether a new token may fare better. 5.7.139 is about the
// mailbox's settings, whatever the token.
func refusesToken(err error) bool {
	const credentialsInvalid, disabled = 535, 139
	refused := (*LoginRefused)(nil)
	if !errors.As(err, &refused) {
		return false
	}
	r := refused.refusal.Reply
	return r.Code == credentialsInvalid && r.Status != reply.Status{Class: 5, Subject: 7, Detail: disabled}
}

// hungUp tells whether a connection ended where a login had to be answered.
func hungUp(err error) bool {
	refusal := (*esmtp.Refusal)(nil)
	return err != nil && (!errors.As(err, &refusal) || refusal.Reply.Code == esmtp.ServiceClosing)
}

// noMechanism is the error of a host that offers no login with a token.
type noMechanism struct{ offered []string }

func (n *noMechanism) Error() string {
	if len(n.offered) == 0 {
		return "no login is offered"
	}
	return "no login by OAuth is offered, only " + strings.Join(n.offered, ", ")
}

// Configuration tells that no login is possible until somebody changes
// something.
func (n *noMechanism) Configuration() bool { return true }

// Statuses of RFC 3463 and RFC 4954 for what can be in this way out's way.
var (
	statusConfiguration = reply.Status{Class: 4, Subject: 3, Detail: 5}
	statusNoLogin       = reply.Status{Class: 4, Subject: 7, Detail: 0}
)

// Words implements transport.Way.
func (w way) Words(host string, err error) (reply.Status, string, fault.Code) {
	var (
		token   *noToken
		offered *noMechanism
		refused *LoginRefused
	)
	switch {
	case errors.As(err, &token):
		return statusNoLogin, token.Error(), fault.CodeOf(token)
	case errors.As(err, &offered):
		return statusConfiguration, fmt.Sprintf("%s: %v: check upstream.submission.host and its port", host, offered), ""
	case errors.As(err, &refused):
		return statusNoLogin, fmt.Sprintf("%s: %v", host, refused), ""
	}
	return reply.Status{}, "", ""
}
