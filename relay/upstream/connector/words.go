package connector

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"

	"sealpost/relay/reply"
	"sealpost/relay/upstream"
	"sealpost/relay/upstream/esmtp"
)

var (
	errNoTLS = errors.New("the server does not offer STARTTLS")
	errBusy  = errors.New("all connections to the tenant are busy, try again later")
)

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

// afterShowing marks what failed where TLS 1.3 servers refuse the certificate
// that they were shown.
type afterShowing struct{ err error }

func (a *afterShowing) Error() string { return a.err.Error() }
func (a *afterShowing) Unwrap() error { return a.err }

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
func (c *Connector) unavailable(ctx context.Context, err error) *upstream.Unavailable {
	over := (*overMessage)(nil)
	ready := errors.As(err, &over)
	host := cmp.Or(c.config.Host, "the tenant")
	if at := (*onHost)(nil); errors.As(err, &at) {
		host = at.host
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) && !errors.Is(err, errBusy) {
		return &upstream.Unavailable{Status: statusBroken, Ready: ready, Err: err,
			Reason: host + " did not answer in time: if it is the line that is slow, raise upstream.timeout"}
	}
	// What a server said comes before TLS, whose errors are known by their text.
	for _, read := range []func(string, error) (reply.Status, string){
		keyWords, busyWords, lookupWords, refusalWords, protocolWords, tlsWords, networkWords,
	} {
		if status, reason := read(host, err); reason != "" {
			return &upstream.Unavailable{Status: status, Reason: reason, Answer: refusedWith(err), Ready: ready, Err: err}
		}
	}
	return &upstream.Unavailable{Status: statusBroken, Reason: fmt.Sprintf("the connection to %s broke off", host), Ready: ready, Err: err}
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

func lookupWords(host string, err error) (reply.Status, string) {
	if mx := (*foreignMX)(nil); errors.As(err, &mx) {
		return statusConfiguration, mx.Error()
	}
	dns := (*net.DNSError)(nil)
	if !errors.As(err, &dns) {
		return reply.Status{}, ""
	}
	if dns.IsNotFound {
		return statusNoRoute, fmt.Sprintf("the name %s is not known to DNS: check senders.accepted_domains and upstream.connector.host", dns.Name)
	}
	return statusNoRoute, fmt.Sprintf("no answer from DNS about %s: check the network and its name servers", dns.Name)
}

func tlsWords(host string, err error) (reply.Status, string) {
	const inClear = "; mail is never sent in clear"
	var (
		verification *tls.CertificateVerificationError
		record       tls.RecordHeaderError
		after        *afterShowing
	)
	switch {
	case errors.Is(err, errNoTLS):
		return statusSecurity, host + " does not offer STARTTLS" + inClear
	case errors.Is(err, esmtp.ErrEarlyData):
		return statusSecurity, host + " sent clear text after agreeing to STARTTLS: somebody may be tampering with the connection"
	case errors.As(err, &verification):
		return statusSecurity, fmt.Sprintf("the certificate of %s is not trusted: %s%s", host, doubt(verification.Err), inClear)
	case errors.As(err, &record):
		return statusSecurity, host + " does not speak TLS after agreeing to STARTTLS" + inClear
	case refusesCertificate(err):
		return statusSecurity, fmt.Sprintf("%s refused our client certificate (%s): check that it is valid and complete: sealpost certificate show", host, lastPart(err))
	case strings.Contains(err.Error(), "tls: "):
		return statusSecurity, fmt.Sprintf("no TLS connection with %s, TLS 1.2 or later is needed (%s)%s", host, lastPart(err), inClear)
	case errors.As(err, &after) && (errors.Is(err, esmtp.ErrClosed) || errors.Is(err, syscall.ECONNRESET)):
		return statusSecurity, fmt.Sprintf("%s hung up after seeing our client certificate: check it with: sealpost certificate show", host)
	}
	return reply.Status{}, ""
}

// refusesCertificate recognises the alerts by which a server turns down a
// client certificate (RFC 8446 section 6.2).
func refusesCertificate(err error) bool {
	text := err.Error()
	for _, alert := range []string{"bad certificate", "unsupported certificate", "revoked certificate",
		"expired certificate", "unknown certificate", "certificate required"} {
		if strings.Contains(text, "remote error: tls: "+alert) {
			return true
		}
	}
	return false
}

// doubt says why a server's certificate was not accepted.
func doubt(err error) string {
	var (
		name    x509.HostnameError
		invalid x509.CertificateInvalidError
		unknown x509.UnknownAuthorityError
	)
	switch {
	case errors.As(err, &name):
		return "it is for another name"
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

func protocolWords(host string, err error) (reply.Status, string) {
	for _, fault := range []error{reply.ErrLineTooLong, reply.ErrTooManyLines, reply.ErrMalformed, esmtp.ErrUnsolicited} {
		if errors.Is(err, fault) {
			return statusProtocol, fmt.Sprintf("%s does not speak SMTP: %v", host, fault)
		}
	}
	return reply.Status{}, ""
}

func networkWords(host string, err error) (reply.Status, string) {
	op := (*net.OpError)(nil)
	connecting := errors.As(err, &op) && op.Op == "dial"
	timeout := errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded)
	switch {
	case connecting:
		return statusUnreachable, fmt.Sprintf("cannot reach %s: check the internet line and that outbound port 25 is open", host)
	case timeout:
		return statusBroken, host + " did not answer in time"
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
