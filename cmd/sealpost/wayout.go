package main

import (
	"context"
	"crypto/x509"
	"fmt"

	"sealpost/provisioning/settings"
	"sealpost/relay/dispatch"
	"sealpost/relay/envelope"
	"sealpost/relay/oauth"
	"sealpost/relay/upstream/connector"
	"sealpost/relay/upstream/dns"
	"sealpost/relay/upstream/submission"
	"sealpost/relay/upstream/transport"
)

// wayOut is how mail leaves.
type wayOut interface {
	dispatch.Upstream
	Close()
}

// wayOut is the one that the settings describe; it must be closed.
func (r *relay) wayOut(ctx context.Context) (wayOut, error) {
	if r.box.settings.Upstream.Method == settings.MethodSubmission {
		return r.submission()
	}
	return r.connector(ctx)
}

func (r *relay) connector(ctx context.Context) (wayOut, error) {
	s := r.box.settings
	shown, err := r.identity(ctx)
	if err != nil {
		return nil, err
	}
	roots, err := caPool("upstream.connector", s.Upstream.Connector.Roots)
	if err != nil {
		return nil, err
	}
	return connector.New(connector.Config{
		Hello:       r.hostname,
		Host:        string(s.Upstream.Connector.Host),
		Domain:      string(s.AcceptedDomains()[0]),
		Port:        s.Upstream.Connector.Port,
		Roots:       roots,
		Identity:    shown,
		Connections: s.Upstream.Connections,
		Patience:    min(upstreamPatience, s.Upstream.Timeout.Duration),
		Resolver:    dns.Resolver(s.Upstream.DNS),
	}, r.journal), nil
}

// immediateTLS is the port on which TLS comes before the greeting (RFC 8314,
// 3.3).
const immediateTLS = 465

// submission is the way out with a token that is kept fresh.
func (r *relay) submission() (wayOut, error) {
	grant, err := r.box.grant(r.hostname)
	if err != nil {
		return nil, err
	}
	keeper := oauth.NewKeeper(grant, observer{r.journal})
	way, err := r.submitting(bearers{keeper})
	if err != nil {
		keeper.Close()
		return nil, err
	}
	return keeping{way, keeper}, nil
}

// submitting is a submission on these tokens.
func (r *relay) submitting(tokens submission.Tokens) (*submission.Submission, error) {
	s := r.box.settings
	to := s.Upstream.Submission
	roots, err := caPool("upstream.submission", to.Roots)
	if err != nil {
		return nil, err
	}
	config := submission.Config{
		Hello:       r.hostname,
		Host:        string(to.Host),
		Port:        to.Port,
		Roots:       roots,
		Connections: s.Upstream.Connections,
		PerMailbox:  mailboxConnections,
		Patience:    min(upstreamPatience, s.Upstream.Timeout.Duration),
		Resolver:    dns.Resolver(s.Upstream.DNS),
		Tokens:      tokens,
		User: func(sender envelope.Address) envelope.Address {
			return envelope.Address(to.Mailbox(string(sender)))
		},
	}
	if to.Port == immediateTLS {
		config.Security = transport.Immediate
	}
	if to.SendAs == settings.SendAsDefault {
		config.Default = envelope.Address(s.DefaultSender())
	}
	return submission.New(config, r.journal), nil
}

// keeping is a submission with the keeper of its token.
type keeping struct {
	*submission.Submission
	keeper *oauth.Keeper
}

// Close implements wayOut.
func (k keeping) Close() {
	k.Submission.Close()
	k.keeper.Close()
}

// caPool gives the roots that a section of the settings names; nil means the
// usual ones.
func caPool(section string, named settings.Roots) (*x509.CertPool, error) {
	text, from := []byte(named.CA), section+".ca"
	if named.CAFile != "" {
		const limit = 1 << 20
		var err error
		if text, err = readFile(named.CAFile, limit); err != nil {
			return nil, fmt.Errorf("%s.ca_file: %w", section, err)
		}
		from = named.CAFile
	}
	if len(text) == 0 {
		ownRoots()
		return nil, nil
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", from)
	}
	return pool, nil
}
