package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"sealpost/relay/reply"
	"sealpost/relay/upstream"
	"sealpost/relay/upstream/esmtp"
)

var (
	// ErrNoTLS is the error of a server that does not offer STARTTLS (RFC 3207).
	ErrNoTLS = errors.New("the server does not offer STARTTLS")
	errBusy  = errors.New("all connections to the mail host are busy, try again later")
)

// AccountFault wraps an error that concerns one account only.
type AccountFault struct{ Err error }

func (a *AccountFault) Error() string { return a.Err.Error() }
func (a *AccountFault) Unwrap() error { return a.Err }

// configurationError is an error that reports whether a configuration change is
// needed.
type configurationError interface {
	error
	Configuration() bool
}

// hostError adds the host to an error.
type hostError struct {
	host string
	err  error
}

func (e *hostError) Error() string { return e.host + ": " + e.err.Error() }
func (e *hostError) Unwrap() error { return e.err }

// transactionError wraps an error during a mail transaction.
type transactionError struct{ err error }

func (e *transactionError) Error() string { return e.err.Error() }
func (e *transactionError) Unwrap() error { return e.err }

// Enhanced status codes (RFC 3463, RFC 5248) of transport errors.
var (
	statusConfiguration = reply.Status{Class: 4, Subject: 3, Detail: 5}
	statusUnreachable   = reply.Status{Class: 4, Subject: 4, Detail: 1}
	statusBroken        = reply.Status{Class: 4, Subject: 4, Detail: 2}
	statusNoRoute       = reply.Status{Class: 4, Subject: 4, Detail: 4}
	statusCongested     = reply.Status{Class: 4, Subject: 4, Detail: 5}
	statusProtocol      = reply.Status{Class: 4, Subject: 5, Detail: 0}
	statusSecurity      = reply.Status{Class: 4, Subject: 7, Detail: 5}
)

// unavailable describes an error for people.
func (t *Transport) unavailable(ctx context.Context, err error) *upstream.Unavailable {
	var (
		inTransaction *transactionError
		unanswered    *esmtp.Unanswered
		atHost        *hostError
		configuration configurationError
	)
	u := &upstream.Unavailable{Status: statusBroken, DuringTransaction: errors.As(err, &inTransaction), Unanswered: errors.As(err, &unanswered), Account: isAccountFault(err), Err: err,
		Configuration: errors.As(err, &configuration) && configuration.Configuration()}
	host := t.config.HostName
	if errors.As(err, &atHost) {
		host = atHost.host
	}
	describeTimeout := func(host string, err error) (status reply.Status, reason string) {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) && !errors.Is(err, errBusy) {
			return statusBroken, host + " did not reply in time: if the connection is slow, raise upstream.timeout"
		}
		return status, ""
	}
	if status, reason, code := t.method.Describe(host, err); reason != "" {
		u.Status, u.Reason, u.Code, u.ServerReply = status, reason, code, rejectionReply(err)
		return u
	}
	// Replies come before TLS errors, which are recognised by their text only.
	for _, describe := range []func(string, error) (reply.Status, string){
		describeTimeout, describeKey, describeBusy, t.describeLookup, describeRejection, t.describeProtocol, t.describeTLS, t.describeNetwork,
	} {
		if status, reason := describe(host, err); reason != "" {
			u.Status, u.Reason, u.ServerReply = status, reason, rejectionReply(err)
			return u
		}
	}
	u.Reason = fmt.Sprintf("the connection to %s was lost: check the internet connection, and %s", host, adviceFirewall)
	return u
}

// keyFault is the error of our own key, such as a TPM's; its text is for
// people.
type keyFault struct{ err error }

func (k *keyFault) Error() string { return k.err.Error() }
func (k *keyFault) Unwrap() error { return k.err }

func describeKey(_ string, err error) (reply.Status, string) {
	if fault := (*keyFault)(nil); errors.As(err, &fault) {
		return statusConfiguration, "the key of the client certificate cannot be used: " + fault.Error()
	}
	return reply.Status{}, ""
}

func describeBusy(_ string, err error) (reply.Status, string) {
	if errors.Is(err, errBusy) {
		return statusCongested, errBusy.Error()
	}
	return reply.Status{}, ""
}

func (t *Transport) describeLookup(_ string, err error) (reply.Status, string) {
	dns := (*net.DNSError)(nil)
	if !errors.As(err, &dns) {
		return reply.Status{}, ""
	}
	if dns.IsNotFound {
		return statusNoRoute, fmt.Sprintf("the name %s does not exist in DNS: check %s", dns.Name, t.config.Settings)
	}
	server := ""
	if dns.Server != "" {
		server = " from " + dns.Server
	}
	return statusNoRoute, fmt.Sprintf("no DNS response for %s%s: check the network and its name servers", dns.Name, server)
}

func (t *Transport) describeTLS(host string, err error) (reply.Status, string) {
	const inClear = "; mail is never sent in clear"
	cure := inClear + ": " + t.adviceWrongHost()
	var (
		verification *tls.CertificateVerificationError
		record       tls.RecordHeaderError
	)
	switch {
	case errors.Is(err, ErrNoTLS):
		return statusSecurity, host + " does not offer STARTTLS" + cure
	case errors.Is(err, esmtp.ErrEarlyData):
		return statusSecurity, host + " sent clear text after agreeing to STARTTLS: somebody may be tampering with the connection: " + adviceFirewall
	case errors.As(err, &verification):
		return statusSecurity, fmt.Sprintf("the certificate of %s is not trusted: %s%s", host, t.describeVerification(verification.Err), inClear)
	case errors.As(err, &record) && t.config.Security == ImplicitTLS:
		return statusSecurity, fmt.Sprintf("%s does not speak TLS on port %d%s", host, t.config.Port, cure)
	case errors.As(err, &record):
		return statusSecurity, host + " does not speak TLS after agreeing to STARTTLS" + cure
	case strings.Contains(err.Error(), "tls: "):
		return statusSecurity, fmt.Sprintf("no TLS connection with %s, TLS 1.2 or later is needed (%s)%s", host, innermostText(err), cure)
	}
	return reply.Status{}, ""
}

// adviceFirewall is advice against firewalls that modify SMTP.
const adviceFirewall = "have no firewall inspect the mail of this box"

// adviceWrongHost is advice if the host is the wrong one, or a device responds
// in its place.
func (t *Transport) adviceWrongHost() string {
	return "check " + t.config.Settings + ", and " + adviceFirewall
}

// describeVerification explains why a server's certificate was rejected.
func (t *Transport) describeVerification(err error) string {
	var (
		name    x509.HostnameError
		invalid x509.CertificateInvalidError
		unknown x509.UnknownAuthorityError
	)
	switch {
	case errors.As(err, &name):
		return "it is for another name; check " + t.config.Settings
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "it has expired or is not valid yet; check the box's clock too"
	case errors.As(err, &unknown):
		return "its issuer is unknown; behind a firewall that inspects TLS, except this box"
	}
	return err.Error()
}

func describeRejection(host string, err error) (reply.Status, string) {
	refusal := (*esmtp.UnexpectedReply)(nil)
	if !errors.As(err, &refusal) {
		return reply.Status{}, ""
	}
	return statusBroken, fmt.Sprintf("%s said: %s", host, refusal.Reply)
}

// rejectionReply returns the reply with which the server ended the session, or
// the zero Reply.
func rejectionReply(err error) reply.Reply {
	if refusal := (*esmtp.UnexpectedReply)(nil); errors.As(err, &refusal) {
		return refusal.Reply
	}
	return reply.Reply{}
}

func (t *Transport) describeProtocol(host string, err error) (reply.Status, string) {
	for _, fault := range []error{reply.ErrLineTooLong, reply.ErrTooManyLines, reply.ErrMalformed, esmtp.ErrUnsolicited} {
		if errors.Is(err, fault) {
			return statusProtocol, fmt.Sprintf("%s does not speak SMTP: %v: %s", host, fault, t.adviceWrongHost())
		}
	}
	return reply.Status{}, ""
}

func (t *Transport) describeNetwork(host string, err error) (reply.Status, string) {
	op := (*net.OpError)(nil)
	connecting := errors.As(err, &op) && op.Op == "dial"
	timeout := errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded)
	switch {
	case connecting:
		return statusUnreachable, fmt.Sprintf("cannot reach %s: check the internet line and that outbound port %d is open", host, t.config.Port)
	case timeout:
		return statusBroken, host + " did not reply in time: check the internet connection, and " + adviceFirewall
	case errors.Is(err, context.Canceled):
		return statusBroken, "the relay is stopping"
	}
	return reply.Status{}, ""
}

// innermostText returns the text of the innermost error.
func innermostText(err error) string {
	parts := strings.Split(err.Error(), ": ")
	return parts[len(parts)-1]
}
