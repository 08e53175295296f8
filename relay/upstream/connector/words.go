package connector

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"

	"sealpost/hal/fault"
	"sealpost/relay/reply"
	"sealpost/relay/upstream/esmtp"
)

// afterShowing marks what failed where TLS 1.3 servers refuse the certificate
// that they were shown.
type afterShowing struct{ err error }

func (a *afterShowing) Error() string { return a.err.Error() }
func (a *afterShowing) Unwrap() error { return a.err }

// Statuses of RFC 3463 for what can be in this way out's way.
var (
	statusConfiguration = reply.Status{Class: 4, Subject: 3, Detail: 5}
	statusSecurity      = reply.Status{Class: 4, Subject: 7, Detail: 5}
)

// Words implements transport.Way.
func (way) Words(host string, err error) (reply.Status, string, fault.Code) {
	var (
		mx    *foreignMX
		after *afterShowing
	)
	switch {
	case errors.As(err, &mx):
		return statusConfiguration, mx.Error(), ""
	case refusal(err) != "":
		return statusSecurity, fmt.Sprintf("%s refused our client certificate (%s): check that it is valid and complete", host, refusal(err)), fault.CertificateRefused
	case errors.As(err, &after) && (errors.Is(err, esmtp.ErrClosed) || errors.Is(err, syscall.ECONNRESET)):
		return statusSecurity, fmt.Sprintf("%s hung up after seeing our client certificate: check that it is valid and complete", host), fault.CertificateRefused
	}
	return reply.Status{}, "", ""
}

// refusal gives the alert by which a server turns down a client certificate
// (RFC 8446 section 6.2); empty where err is none. crypto/tls has only words
// for them.
func refusal(err error) string {
	remote := (*net.OpError)(nil)
	if !errors.As(err, &remote) || remote.Op != "remote error" {
		return ""
	}
	words := strings.TrimPrefix(remote.Err.Error(), "tls: ")
	for _, alert := range []string{"bad certificate", "unsupported certificate", "revoked certificate",
		"expired certificate", "unknown certificate", "certificate required"} {
		if strings.HasPrefix(words, alert) {
			return words
		}
	}
	return ""
}
