package oauth

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

// connectionFault describes why there was no complete response. The error
// itself is omitted: errors of net/http may contain text of the server.
func connectionFault(host string, timeout time.Duration, err error) *Fault {
	for _, describe := range []func(string, error) (Kind, string){describeLookup, describeTLS, describeResponse, describeNetwork} {
		if kind, text := describe(host, err); text != "" {
			return &Fault{Kind: kind, Text: text}
		}
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		return &Fault{Kind: Wait, Text: fmt.Sprintf("%s returned no complete response within %v: check the internet connection, and that the site allows outbound port 443", host, timeout)}
	}
	return &Fault{Kind: Wait, Text: "the connection to " + host + " was lost: check the internet connection; the box will retry"}
}

func describeLookup(host string, err error) (Kind, string) {
	dns := (*net.DNSError)(nil)
	switch {
	case !errors.As(err, &dns):
		return "", ""
	case dns.IsNotFound:
		return Configuration, fmt.Sprintf("the name %s does not exist in DNS: check the token URL and the box's name servers", host)
	}
	return Wait, fmt.Sprintf("no DNS response for %s: check the network and its name servers", host)
}

func describeTLS(host string, err error) (Kind, string) {
	var (
		verification *tls.CertificateVerificationError
		record       tls.RecordHeaderError
		alert        tls.AlertError
	)
	switch {
	case errors.As(err, &verification):
		return Configuration, fmt.Sprintf("the certificate of %s is not trusted: %s", host, describeVerification(verification.Err))
	case errors.As(err, &record):
		return Configuration, host + " does not speak TLS on that port: check the token URL"
	case errors.As(err, &alert), strings.Contains(err.Error(), "tls: "):
		return Configuration, "no TLS connection with " + host + ", TLS 1.2 or later is needed: check the token URL, and except this box from a firewall that inspects TLS"
	}
	return "", ""
}

// describeVerification explains why the server's certificate was rejected.
func describeVerification(err error) string {
	var (
		name    x509.HostnameError
		invalid x509.CertificateInvalidError
		unknown x509.UnknownAuthorityError
	)
	switch {
	case errors.As(err, &name):
		return "it is for another name; check the token URL"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "it has expired or is not valid yet; check the box's clock"
	case errors.As(err, &unknown):
		return "its issuer is unknown; behind a firewall that inspects TLS, except this box"
	}
	return "it does not verify; behind a firewall that inspects TLS, except this box"
}

func describeResponse(host string, err error) (Kind, string) {
	switch {
	case errors.Is(err, errTooLong):
		return Configuration, fmt.Sprintf("%s returned a response of more than %d KiB, which is not a token: check the token URL", host, maxResponse>>10)
	case strings.Contains(err.Error(), "malformed HTTP"), strings.Contains(err.Error(), "malformed MIME"), strings.Contains(err.Error(), "server response headers exceeded"):
		return Configuration, host + " returned an invalid HTTP response: check the token URL"
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return Wait, "the response of " + host + " was cut off: check the internet connection; the box will retry"
	}
	return "", ""
}

func describeNetwork(host string, err error) (Kind, string) {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return Wait, host + " refused the connection: check that the site allows outbound port 443, and the token URL"
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return Wait, "no route to " + host + ": check the cable, the box's address and its gateway"
	}
	return "", ""
}
