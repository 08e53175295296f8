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
	errNoTLS = errors.New("the server does not offer STARTTLS")
	errBusy  = errors.New("all connections to the tenant are busy, try again later")
)

// AccountFault marks what stands in the way of one account's mail only.
type AccountFault struct{ Err error }

func (a *AccountFault) Error() string { return a.Err.Error() }
func (a *AccountFault) Unwrap() error { return a.Err }

// fixable is an error that knows whether somebody must change something before
// any mail can go out.
type fixable interface {
	error
	Configuration() bool
}

// onHost says with which host something failed.
type onHost struct {
	host string
	err  error
}

func (o *onHost) Error() string { return o.host + ": " + o.err.Error() }
func (o *onHost) Unwrap() error { return o.err }

// overMessage marks what failed when a connection was open and a message was
// offered over it.
type overMessage struct{ err error }

func (o *overMessage) Error() string { return o.err.Error() }
func (o *overMessage) Unwrap() error { return o.err }

// Statuses of RFC 3463 and RFC 5248 for what can be in the way.
var (
	statusConfiguration = reply.Status{Class: 4, Subject: 3, Detail: 5}
	statusUnreachable   = reply.Status{Class: 4, Subject: 4, Detail: 1}
	statusBroken        = reply.Status{Class: 4, Subject: 4, Detail: 2}
	statusNoRoute       = reply.Status{Class: 4, Subject: 4, Detail: 4}
	statusCongested     = reply.Status{Class: 4, Subject: 4, Detail: 5}
	statusProtocol      = reply.Status{Class: 4, Subject: 5, Detail: 0}
	statusSecurity      = reply.Status{Class: 4, Subject: 7, Detail: 5}
)

// unavailable puts what went wrong into words for the technician.
func (t *Transport) unavailable(ctx context.Context, err error) *upstream.Unavailable {
	var (
		over *overMessage
		at   *onHost
		must fixable
	)
	u := &upstream.Unavailable{Status: statusBroken, DuringTransaction: errors.As(err, &over), Account: ofAccount(err), Err: err,
		Configuration: errors.As(err, &must) && must.Configuration()}
	host := t.config.FarSide
	if errors.As(err, &at) {
		host = at.host
	}
	late := func(host string, err error) (status reply.Status, reason string) {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) && !errors.Is(err, errBusy) {
			return statusBroken, host + " did not answer in time: if it is the line that is slow, raise upstream.timeout"
		}
		return status, ""
	}
	if status, reason, code := t.way.Words(host, err); reason != "" {
		u.Status, u.Reason, u.Code, u.ServerReply = status, reason, code, refusedWith(err)
		return u
	}
	// What a server said comes before TLS, whose errors are known by their text.
	for _, read := range []func(string, error) (reply.Status, string){
		late, keyWords, busyWords, t.lookupWords, refusalWords, t.protocolWords, t.tlsWords, t.networkWords,
	} {
		if status, reason := read(host, err); reason != "" {
			u.Status, u.Reason, u.ServerReply = status, reason, refusedWith(err)
			return u
		}
	}
	u.Reason = fmt.Sprintf("the connection to %s broke off: check the line, and %s", host, uninspected)
	return u
}

// keyFault is the error of our own key, such as that of a TPM; its text is
// meant for the technician.
type keyFault struct{ err error }

func (k *keyFault) Error() string { return k.err.Error() }
func (k *keyFault) Unwrap() error { return k.err }

func keyWords(_ string, err error) (reply.Status, string) {
	if fault := (*keyFault)(nil); errors.As(err, &fault) {
		return statusConfiguration, "the key of the client certificate cannot be used: " + fault.Error()
	}
	return reply.Status{}, ""
}

func busyWords(_ string, err error) (reply.Status, string) {
	if errors.Is(err, errBusy) {
		return statusCongested, errBusy.Error()
	}
	return reply.Status{}, ""
}

func (t *Transport) lookupWords(_ string, err error) (reply.Status, string) {
	dns := (*net.DNSError)(nil)
	if !errors.As(err, &dns) {
		return reply.Status{}, ""
	}
	if dns.IsNotFound {
		return statusNoRoute, fmt.Sprintf("the name %s is not known to DNS: check %s", dns.Name, t.config.Settings)
	}
	return statusNoRoute, fmt.Sprintf("no answer from DNS about %s: check the network and its name servers", dns.Name)
}

func (t *Transport) tlsWords(host string, err error) (reply.Status, string) {
	const inClear = "; mail is never sent in clear"
	cure := inClear + ": " + t.elsewhere()
	var (
		verification *tls.CertificateVerificationError
		record       tls.RecordHeaderError
	)
	switch {
	case errors.Is(err, errNoTLS):
		return statusSecurity, host + " does not offer STARTTLS" + cure
	case errors.Is(err, esmtp.ErrEarlyData):
		return statusSecurity, host + " sent clear text after agreeing to STARTTLS: somebody may be tampering with the connection: " + uninspected
	case errors.As(err, &verification):
		return statusSecurity, fmt.Sprintf("the certificate of %s is not trusted: %s%s", host, t.doubt(verification.Err), inClear)
	case errors.As(err, &record) && t.config.Security == Immediate:
		return statusSecurity, fmt.Sprintf("%s does not speak TLS on port %d%s", host, t.config.Port, cure)
	case errors.As(err, &record):
		return statusSecurity, host + " does not speak TLS after agreeing to STARTTLS" + cure
	case strings.Contains(err.Error(), "tls: "):
		return statusSecurity, fmt.Sprintf("no TLS connection with %s, TLS 1.2 or later is needed (%s)%s", host, lastPart(err), cure)
	}
	return reply.Status{}, ""
}

// uninspected is what helps where a firewall meddles with SMTP.
const uninspected = "have no firewall inspect the mail of this box"

// elsewhere is what helps where the host, or who answers in its place, is not
// the one that is meant.
func (t *Transport) elsewhere() string { return "check " + t.config.Settings + ", and " + uninspected }

// doubt says why a server's certificate was not accepted.
func (t *Transport) doubt(err error) string {
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

func refusalWords(host string, err error) (reply.Status, string) {
	refusal := (*esmtp.Refusal)(nil)
	if !errors.As(err, &refusal) {
		return reply.Status{}, ""
	}
	return statusBroken, fmt.Sprintf("%s said: %s", host, refusal.Reply)
}

// refusedWith is the answer by which the server would not go on.
func refusedWith(err error) reply.Reply {
	if refusal := (*esmtp.Refusal)(nil); errors.As(err, &refusal) {
		return refusal.Reply
	}
	return reply.Reply{}
}

func (t *Transport) protocolWords(host string, err error) (reply.Status, string) {
	for _, fault := range []error{reply.ErrLineTooLong, reply.ErrTooManyLines, reply.ErrMalformed, esmtp.ErrUnsolicited} {
		if errors.Is(err, fault) {
			return statusProtocol, fmt.Sprintf("%s does not speak SMTP: %v: %s", host, fault, t.elsewhere())
		}
	}
	return reply.Status{}, ""
}

func (t *Transport) networkWords(host string, err error) (reply.Status, string) {
	op := (*net.OpError)(nil)
	connecting := errors.As(err, &op) && op.Op == "dial"
	timeout := errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded)
	switch {
	case connecting:
		return statusUnreachable, fmt.Sprintf("cannot reach %s: check the internet line and that outbound port %d is open", host, t.config.Port)
	case timeout:
		return statusBroken, host + " did not answer in time: check the line, and " + uninspected
	case errors.Is(err, context.Canceled):
		return statusBroken, "the relay is stopping"
	}
	return reply.Status{}, ""
}

// lastPart is the innermost of an error's words.
func lastPart(err error) string {
	parts := strings.Split(err.Error(), ": ")
	return parts[len(parts)-1]
}
