// Package reach looks at a mail host without sending anything: can it be
// reached, does it offer TLS, and who vouches for it.
//
// It knows the beginning of an SMTP dialogue. It must not know the settings, or
// what follows from what it saw.
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
	connectPatience = 10 * time.Second
	replyPatience   = 20 * time.Second
)

// Host is what to look at.
type Host struct {
	Name  string // as in its certificate
	Port  int
	Hello string         // our name
	Roots *x509.CertPool // nil for the usual ones
	// Resolver finds its addresses.
	Resolver *net.Resolver
}

// Seen is how far a look came; what was not reached is false or empty.
type Seen struct {
	Connected bool
	Greeted   bool // it speaks SMTP and knows EHLO
	TLS       bool // STARTTLS led to TLS
	Verified  bool // its certificate is its own, by a root that is known
	Requested bool // it asked for our certificate
	// Chain is what it showed, leaf first.
	Chain []*x509.Certificate
	// Unknown tells that nothing but an unknown root stands against the chain.
	Unknown bool
	Err     error // what ended the look early, or stands against the certificate
}

// errNoTLS is the error of a host that offers no STARTTLS (RFC 3207).
var errNoTLS = errors.New("it offers no STARTTLS")

// Look looks at the host. Nothing of a message is said.
func Look(ctx context.Context, h Host) Seen {
	var seen Seen
	dialer := net.Dialer{Timeout: connectPatience, Resolver: h.Resolver}
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(h.Name, strconv.Itoa(h.Port)))
	if err != nil {
		seen.Err = err
		return seen
	}
	seen.Connected = true
	client, err := esmtp.Dialogue(ctx, conn, silence{}, replyPatience)
	if err != nil {
		seen.Err = errors.Join(err, conn.Close())
		return seen
	}
	defer client.Close()
	seen.Err = seen.hold(ctx, client, h)
	return seen
}

// hold holds the dialogue up to TLS.
func (s *Seen) hold(ctx context.Context, client *esmtp.Client, h Host) error {
	if err := client.Hello(ctx, h.Hello); err != nil {
		return fmt.Errorf("greeting it: %w", err)
	}
	s.Greeted = true
	if !client.Offers("STARTTLS") {
		return errNoTLS
	}
	_, err := client.StartTLS(ctx, &tls.Config{
		ServerName: h.Name,
		MinVersion: tls.VersionTLS12,
		// The chain is judged below, where an unknown root is told from a lie.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			s.Chain = state.PeerCertificates
			return nil
		},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			s.Requested = true
			return &tls.Certificate{}, nil
		},
	})
	if s.Chain == nil {
		return fmt.Errorf("going over to TLS: %w", err)
	}
	// A host that wants our certificate may break off without one.
	s.TLS = true
	return s.verify(h)
}

// verify verifies the chain as a delivery would.
func (s *Seen) verify(h Host) error {
	options := x509.VerifyOptions{DNSName: h.Name, Roots: h.Roots, Intermediates: x509.NewCertPool()}
	for _, c := range s.Chain[1:] {
		options.Intermediates.AddCert(c)
	}
	_, err := s.Chain[0].Verify(options)
	if unknown := (x509.UnknownAuthorityError{}); errors.As(err, &unknown) {
		s.Unknown = s.Chain[0].VerifyHostname(h.Name) == nil
	}
	s.Verified = err == nil
	return err
}

// silence keeps no record of the dialogue.
type silence struct{}

// Sent implements esmtp.Observer.
func (silence) Sent(string) {}

// Heard implements esmtp.Observer.
func (silence) Received(string) {}
