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

// method is the submission's part of the transport: the host, and the login.
type method struct{ *Submission }

// Hosts implements transport.Method: it returns the host once there is a token
// for the login.
func (m method) Hosts(ctx context.Context, _ transport.Destination) ([]transport.Host, error) {
	if _, err := m.token(ctx); err != nil {
		return nil, err
	}
	return []transport.Host{{Name: m.config.Host}}, nil
}

// NewHandshake implements transport.Method.
func (m method) NewHandshake(record *journal.Connection, account string) transport.Handshake {
	return &login{m.Submission, record, account}
}

// login is the login on one connection.
type login struct {
	*Submission
	record  *journal.Connection
	account string
}

// Certificate implements transport.Handshake.
func (l *login) Certificate() *tls.Certificate { return &tls.Certificate{} }

// Authenticate implements transport.Handshake: it logs in. If the server
// rejects the token, it retries once with a new one; if that is rejected too,
// the token is not at fault, and there are no more retries until a login
// succeeds.
func (l *login) Authenticate(ctx context.Context, client *esmtp.Client) error {
	if err := client.Hello(ctx, l.config.Hello); err != nil {
		return err
	}
	if l.record.Mechanism = chooseMechanism(client.Mechanisms()); l.record.Mechanism == "" {
		return &mechanismError{client.Mechanisms()}
	}
	token, err := l.token(ctx)
	if err != nil {
		return err
	}
	refusal := l.authenticate(ctx, client, token)
	if !isTokenRejected(refusal) || !l.invalidateToken(token) {
		return refusal
	}
	another, err := l.token(ctx)
	if err != nil {
		return err
	}
	if another == token {
		return refusal
	}
	err = l.authenticate(ctx, client, another)
	switch {
	case isTokenRejected(err):
		l.invalidateToken(another)
	case isDisconnected(err):
		return fmt.Errorf("%w: %w", transport.ErrRetryOnNewConnection, err)
	}
	return err
}

func (s *Submission) token(ctx context.Context) (Token, error) {
	ctx, cancel := context.WithTimeout(ctx, s.config.ReplyTimeout)
	defer cancel()
	token, err := s.config.Tokens.Token(ctx)
	if err != nil {
		return "", &tokenError{err}
	}
	return token, nil
}

// authenticate logs in with the token.
func (l *login) authenticate(ctx context.Context, client *esmtp.Client, token Token) error {
	mechanism := newTokenMechanism(l.record.Mechanism, l.account, token, l.config.Host, l.config.Port)
	err := client.Auth(ctx, mechanism)
	if refusal := (*esmtp.UnexpectedReply)(nil); errors.As(err, &refusal) {
		return l.loginRefused(refusal, mechanism.reasonText())
	}
	if err != nil {
		return err
	}
	l.mu.Lock()
	delete(l.rejected, l.account)
	l.mu.Unlock()
	l.record.Account = l.account
	return nil
}

// maxRejected is the number of mailboxes for which a rejected token is stored,
// because senders are chosen by LAN clients. A forgotten mailbox only causes
// one more login.
const maxRejected = 1000

// rejectedToken is the last token rejected for a mailbox that has not logged in
// since.
type rejectedToken struct {
	token Token
	at    time.Time // when a token was last invalidated for this mailbox
}

// invalidateToken invalidates the token and reports whether a new one may
// succeed: not if the mailbox was rejected with another token before. The token
// may be valid for other mailboxes, so each mailbox invalidates one at most
// every five minutes.
func (l *login) invalidateToken(token Token) bool {
	const minInterval = 5 * time.Minute
	l.mu.Lock()
	before, known := l.rejected[l.account]
	due, at := !known || time.Since(before.at) >= minInterval, before.at
	if due {
		at = time.Now()
	}
	if !known && len(l.rejected) >= maxRejected {
		clear(l.rejected)
	}
	l.rejected[l.account] = rejectedToken{token, at}
	l.mu.Unlock()
	if due {
		l.config.Tokens.Reject(token)
	}
	return !known || before.token == token
}

// loginRefused returns the error of a rejected login. A permanent rejection
// concerns only this mailbox.
func (l *login) loginRefused(r *esmtp.UnexpectedReply, reason string) error {
	err := &LoginRefused{Account: l.account, refusal: r, reason: reason}
	if r.Reply.Permanent() {
		return &transport.AccountFault{Err: err}
	}
	return err
}

// LoginRefused is the error of a login that the server rejected.
type LoginRefused struct {
	Account string // the mailbox
	refusal *esmtp.UnexpectedReply
	reason  string // from the server's challenge, before its reply
}

func (e *LoginRefused) Error() string {
	text := fmt.Sprintf("the login of %s was refused: %s", e.Account, e.refusal.Reply)
	if e.reason != "" {
		text += " (" + e.reason + ")"
	}
	return text
}

func (e *LoginRefused) Unwrap() error { return e.refusal }

// Configuration reports whether a configuration change is needed.
func (e *LoginRefused) Configuration() bool { return e.refusal.Reply.Permanent() }

// isTokenRejected reports whether a new token may succeed. 5.7.139 concerns the
// mailbox's settings, not the token.
func isTokenRejected(err error) bool {
	const credentialsInvalid, disabled = 535, 139
	refused := (*LoginRefused)(nil)
	if !errors.As(err, &refused) {
		return false
	}
	r := refused.refusal.Reply
	return r.Code == credentialsInvalid && r.Status != reply.Status{Class: 5, Subject: 7, Detail: disabled}
}

// isDisconnected reports whether the connection ended instead of a reply to the
// login.
func isDisconnected(err error) bool {
	refusal := (*esmtp.UnexpectedReply)(nil)
	return err != nil && (!errors.As(err, &refusal) || refusal.Reply.Code == esmtp.ServiceClosing)
}

// mechanismError is the error of a host without an OAuth mechanism.
type mechanismError struct{ offered []string }

func (e *mechanismError) Error() string {
	if len(e.offered) == 0 {
		return "no login is offered"
	}
	return "no login by OAuth is offered, only " + strings.Join(e.offered, ", ")
}

// Configuration reports that a configuration change is needed.
func (e *mechanismError) Configuration() bool { return true }

// Enhanced status codes (RFC 3463, RFC 4954) of this method's errors.
var (
	statusConfiguration = reply.Status{Class: 4, Subject: 3, Detail: 5}
	statusNoLogin       = reply.Status{Class: 4, Subject: 7, Detail: 0}
)

// Describe implements transport.Method.
func (m method) Describe(host string, err error) (reply.Status, string, fault.Code) {
	var (
		token   *tokenError
		offered *mechanismError
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
