package wire

import (
	"context"
	"crypto/x509"
	"time"

	"sealpost/provisioning/settings"
	"sealpost/relay/envelope"
	"sealpost/relay/journal"
	"sealpost/relay/oauth"
	"sealpost/relay/server"
	"sealpost/relay/upstream/connector"
	"sealpost/relay/upstream/dns"
	"sealpost/relay/upstream/submission"
	"sealpost/relay/upstream/transport"
)

// replyTimeout is the longest wait for one reply; RFC 5321 section 4.5.3.2
// would allow minutes, but a client is waiting too.
const replyTimeout = time.Minute

// Connector opens delivery by connector, and gives the client certificate that
// it shows, nil where there is none. It must be closed.
func (b *Box) Connector(ctx context.Context, j *journal.Journal) (server.Upstream, *x509.Certificate, error) {
	hostname, err := b.Hostname()
	if err != nil {
		return nil, nil, err
	}
	shown, leaf, err := b.clientIdentity(ctx, j)
	if err != nil {
		return nil, nil, err
	}
	s := b.Settings
	roots, err := CAPool("upstream.connector", s.Upstream.Connector.Roots)
	if err != nil {
		return nil, nil, err
	}
	return connector.New(connector.Config{
		Hello:       hostname,
		Host:        string(s.Upstream.Connector.Host),
		Domain:      string(s.AcceptedDomains()[0]),
		Port:        s.Upstream.Connector.Port,
		Roots:       roots,
		Identity:    shown,
		Connections: s.Upstream.Connections,
		Patience:    min(replyTimeout, s.Upstream.Timeout.Duration),
		Resolver:    dns.Resolver(s.Upstream.DNS),
	}, j), leaf, nil
}

// submission opens delivery by submission, with tokens that are kept fresh. It
// must be closed.
func (b *Box) submission(j *journal.Journal) (server.Upstream, error) {
	hostname, err := b.Hostname()
	if err != nil {
		return nil, err
	}
	grant, err := b.Grant(hostname)
	if err != nil {
		return nil, err
	}
	source := oauth.NewKeeper(grant, observer{j})
	up, err := b.Submission(tokenProvider{source}, j)
	if err != nil {
		source.Close()
		return nil, err
	}
	return submissionWithTokens{up, source}, nil
}

// Submission opens delivery by submission on these tokens. It must be closed.
func (b *Box) Submission(tokens submission.Tokens, j *journal.Journal) (*submission.Submission, error) {
	hostname, err := b.Hostname()
	if err != nil {
		return nil, err
	}
	s := b.Settings
	to := s.Upstream.Submission
	roots, err := CAPool("upstream.submission", to.Roots)
	if err != nil {
		return nil, err
	}
	config := submission.Config{
		Hello:       hostname,
		Host:        string(to.Host),
		Port:        to.Port,
		Roots:       roots,
		Connections: s.Upstream.Connections,
		PerMailbox:  mailboxConnections,
		Patience:    min(replyTimeout, s.Upstream.Timeout.Duration),
		Resolver:    dns.Resolver(s.Upstream.DNS),
		Tokens:      tokens,
		User: func(sender envelope.Address) envelope.Address {
			return envelope.Address(to.Mailbox(string(sender)))
		},
	}
	const implicitTLS = 465 // RFC 8314 section 3.3
	if to.Port == implicitTLS {
		config.Security = transport.Immediate
	}
	if to.SendAs == settings.SendAsDefault {
		config.Default = envelope.Address(s.DefaultSender())
	}
	return submission.New(config, j), nil
}

// submissionWithTokens is a submission with the source of its tokens.
type submissionWithTokens struct {
	*submission.Submission
	source *oauth.Keeper
}

// Close implements server.Upstream.
func (s submissionWithTokens) Close() {
	s.Submission.Close()
	s.source.Close()
}
