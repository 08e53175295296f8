package direct

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"

	"sealpost/hal/fault"
	"sealpost/relay/reply"
	"sealpost/relay/upstream/transport"
)

// Enhanced status codes (RFC 3463, RFC 7505, RFC 8461) of this method's errors.
var (
	statusConfiguration = reply.Status{Class: 4, Subject: 3, Detail: 5}
	statusUnreachable   = reply.Status{Class: 4, Subject: 4, Detail: 1}
	statusDNS           = reply.Status{Class: 4, Subject: 4, Detail: 3}
	statusNoRoute       = reply.Status{Class: 4, Subject: 4, Detail: 4}
	statusSecurity      = reply.Status{Class: 4, Subject: 7, Detail: 5}
)

// lookupFailed is the error of a lookup that got no answer.
type lookupFailed struct {
	what string
	err  error
}

func (l *lookupFailed) Error() string { return "looking up " + l.what + ": " + l.err.Error() }
func (l *lookupFailed) Unwrap() error { return l.err }

// noAddress is the error of a mail host without an address.
type noAddress struct{ host string }

func (n *noAddress) Error() string { return "the mail host " + n.host + " has no address in DNS" }

// notInPolicy is the error of a mail host that the domain's MTA-STS policy does not list.
type notInPolicy struct{ domain, host string }

func (n *notInPolicy) Error() string {
	return fmt.Sprintf("the MTA-STS policy of %s does not list its mail host %s", n.domain, n.host)
}

// heldAdvice says what follows from a host that lacks the TLS that it must have.
const heldAdvice = "; mail to this domain is held: tell its postmaster, or accept weaker TLS for it with upstream.direct.domain"

// Describe implements transport.Method.
func (method) Describe(host string, err error) (reply.Status, string, fault.Code) {
	var (
		none    *noMail
		lookup  *lookupFailed
		dns     *net.DNSError
		address *noAddress
		policy  *notInPolicy
		shown   *certificateFault
		expired x509.CertificateInvalidError
	)
	switch {
	case errors.As(err, &none):
		return none.reply.Status, none.reply.Text, ""
	case errors.As(err, &lookup) && errors.As(lookup.err, &dns) && !dns.IsTimeout:
		return statusDNS, fmt.Sprintf("the DNS of %s fails (%s): wait until its operator mends it", lookup.what, dns.Err), ""
	case errors.As(err, &address):
		return statusNoRoute, address.Error(), ""
	case errors.As(err, &policy):
		return statusSecurity, policy.Error() + heldAdvice, ""
	case errors.Is(err, transport.ErrNoTLS):
		return statusSecurity, host + " does not offer STARTTLS" + heldAdvice, ""
	case errors.As(err, &shown) && errors.As(shown.err, &expired) && expired.Reason == x509.Expired:
		return statusSecurity, fmt.Sprintf("the certificate of %s has expired or is not valid yet, or the box's clock is wrong%s", host, heldAdvice), ""
	case errors.As(err, &shown):
		return statusSecurity, fmt.Sprintf("the certificate of %s is not trusted: %s%s", host, shown, heldAdvice), ""
	}
	return reply.Status{}, "", ""
}
