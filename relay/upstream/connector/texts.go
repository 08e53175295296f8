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

// afterCertificate wraps an error at the point where a TLS 1.3 server rejects
// the client certificate.
type afterCertificate struct{ err error }

func (a *afterCertificate) Error() string { return a.err.Error() }
func (a *afterCertificate) Unwrap() error { return a.err }

// Enhanced status codes (RFC 3463) of this method's errors.
var (
	statusConfiguration = reply.Status{Class: 4, Subject: 3, Detail: 5}
	statusSecurity      = reply.Status{Class: 4, Subject: 7, Detail: 5}
)

// Describe implements transport.Method.
func (method) Describe(host string, err error) (reply.Status, string, fault.Code) {
	var (
		mx    *foreignMX
		after *afterCertificate
	)
	switch {
	case errors.As(err, &mx):
		return statusConfiguration, mx.Error(), ""
	case certificateAlert(err) != "":
		return statusSecurity, fmt.Sprintf("%s refused our client certificate (%s): check that it is valid and complete", host, certificateAlert(err)), fault.CertificateRefused
	case errors.As(err, &after) && (errors.Is(err, esmtp.ErrClosed) || errors.Is(err, syscall.ECONNRESET)):
		return statusSecurity, fmt.Sprintf("%s closed the connection after our client certificate: check that it is valid and complete", host), fault.CertificateRefused
	}
	return reply.Status{}, "", ""
}

// certificateAlert returns the TLS alert with which a server rejected the
// client certificate (RFC 8446 section 6.2), or "". crypto/tls exposes alerts
// only as text.
func certificateAlert(err error) string {
	remote := (*net.OpError)(nil)
	if !errors.As(err, &remote) || remote.Op != "remote error" {
		return ""
	}
	text := strings.TrimPrefix(remote.Err.Error(), "tls: ")
	for _, alert := range []string{"bad certificate", "unsupported certificate", "revoked certificate",
		"expired certificate", "unknown certificate", "certificate required"} {
		if strings.HasPrefix(text, alert) {
			return text
		}
	}
	return ""
}
