// Package reach probes a mail host without sending mail: whether it can be
// reached, whether it offers TLS, and who issued its certificate.
//
// It knows the beginning of an SMTP session. It must not know the settings, or
// what follows from the result.
package reach

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"sealpost/relay/upstream/esmtp"
)

const (
	connectTimeout = 10 * time.Second
	replyTimeout   = 20 * time.Second
)

// Host is a host to probe.
type Host struct {
	Name  string // must match its certificate
	Port  int
	Hello string         // EHLO argument
	Roots *x509.CertPool // nil means the system roots
	// Resolver looks up its addresses.
	Resolver *net.Resolver
}

// Result is what the probe reached; the rest is false or empty.
type Result struct {
	Connected            bool
	Greeted              bool // it accepted EHLO
	TLS                  bool // STARTTLS succeeded
	Verified             bool // its certificate matches its name and a known root
	CertificateRequested bool // it requested a client certificate
	// Chain is its certificate chain, leaf first.
	Chain []*x509.Certificate
	// UnknownRoot is set if the chain is valid except for its unknown root.
	UnknownRoot bool
	Err         error // why the probe ended early, or why the certificate does not verify
}

// errNoTLS is the error of a host that offers no STARTTLS (RFC 3207).
var errNoTLS = errors.New("the server does not offer STARTTLS")

// Probe probes the host. No mail transaction is started.
func Probe(ctx context.Context, h Host) Result {
	var result Result
	dialer := net.Dialer{Timeout: connectTimeout, Resolver: h.Resolver}
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(h.Name, strconv.Itoa(h.Port)))
	if err != nil {
		result.Err = err
		return result
	}
	result.Connected = true
	client, err := esmtp.Dialogue(ctx, conn, noObserver{}, replyTimeout)
	if err != nil {
		result.Err = errors.Join(err, conn.Close())
		return result
	}
	defer client.Close()
	result.Err = result.dialogue(ctx, client, h)
	return result
}

// dialogue runs the session up to TLS.
func (s *Result) dialogue(ctx context.Context, client *esmtp.Client, h Host) error {
	if err := client.Hello(ctx, h.Hello); err != nil {
		return fmt.Errorf("sending EHLO: %w", err)
	}
	s.Greeted = true
	if !client.Offers("STARTTLS") {
		return errNoTLS
	}
	_, err := client.StartTLS(ctx, &tls.Config{
		ServerName: h.Name,
		MinVersion: tls.VersionTLS12,
		// verify checks the chain and distinguishes an unknown root.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			s.Chain = state.PeerCertificates
			return nil
		},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			s.CertificateRequested = true
			return &tls.Certificate{}, nil
		},
	})
	if s.Chain == nil {
		return fmt.Errorf("starting TLS: %w", err)
	}
	// A host that requires a client certificate may abort the handshake.
	s.TLS = true
	return s.verify(h)
}

// verify verifies the chain as a delivery would.
func (s *Result) verify(h Host) error {
	options := x509.VerifyOptions{DNSName: h.Name, Roots: h.Roots, Intermediates: x509.NewCertPool()}
	for _, c := range s.Chain[1:] {
		options.Intermediates.AddCert(c)
	}
	_, err := s.Chain[0].Verify(options)
	if unknown := (x509.UnknownAuthorityError{}); errors.As(err, &unknown) {
		s.UnknownRoot = s.Chain[0].VerifyHostname(h.Name) == nil
	}
	s.Verified = err == nil
	return err
}

// noObserver discards the dialogue.
type noObserver struct{}

// Sent implements esmtp.Observer.
func (noObserver) Sent(string) {}

// Received implements esmtp.Observer.
func (noObserver) Received(string) {}
