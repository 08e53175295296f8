package wire

import (
	"cmp"
	"context"
	"crypto/x509"
	"slices"
	"time"

	"sealpost/provisioning/certificate"
	"sealpost/provisioning/identity"
	"sealpost/provisioning/settings"
	"sealpost/relay/dispatch"
	"sealpost/relay/dispatch/throttle"
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

// Route opens the delivery route in the settings. This is the only place that
// distinguishes the delivery methods.
func (b *Box) Route(ctx context.Context, j *journal.Journal) (server.Route, error) {
	switch traits := b.Settings.Upstream.Method.Traits(); {
	case traits.Mailbox:
		return b.submissionRoute(j)
	case traits.RecipientMX:
		return b.directRoute(j)
	}
	return b.connectorRoute(ctx, j)
}

// route returns what all delivery methods have in common.
func (b *Box) route(u dispatch.Upstream, closes func()) server.Route {
	s := b.Settings
	return server.Route{Close: closes, Route: dispatch.Route{
		Name:     string(s.Upstream.Method),
		Upstream: u,
		Limits: throttle.Limits{
			Connections: s.Upstream.Connections,
			PerAccount:  s.Upstream.Method.Traits().ConnectionsPerAccount,
			Rate:        throttle.Rate{Messages: s.Upstream.MessagesPerMinute},
			PerDay:      s.Upstream.RecipientsPerDay,
		},
		Retry: dispatch.Retry{
			First:   s.Retry.First.Duration,
			Longest: s.Retry.Longest.Duration,
			Age:     s.Retry.Age.Duration,
			Warning: s.Retry.Warning.Duration,
		},
	}}
}

// connectorRoute delivers with the client certificate. Exchange Online relays mail
// with the null reverse-path only if the certificate is for an accepted domain.
func (b *Box) connectorRoute(ctx context.Context, j *journal.Journal) (server.Route, error) {
	s := b.Settings
	hostname, err := b.Hostname()
	if err != nil {
		return server.Route{}, err
	}
	identity, leaf, err := b.clientIdentity(ctx, j)
	if err != nil {
		return server.Route{}, err
	}
	roots, err := CAPool("upstream.connector", s.Upstream.Connector.Roots)
	if err != nil {
		return server.Route{}, err
	}
	up := connector.New(connector.Config{
		Hello:        hostname,
		Host:         string(s.Upstream.Connector.Host),
		Domain:       string(s.AcceptedDomains()[0]),
		MailHosts:    s.Upstream.MailHosts(),
		Port:         s.Upstream.Connector.Port,
		Roots:        roots,
		Identity:     identity,
		Connections:  s.Upstream.Connections,
		ReplyTimeout: min(replyTimeout, s.Upstream.Timeout.Duration),
		Resolver:     dns.New(s.Upstream.DNS),
	}, j)
	r := b.route(up, up.Close)
	r.Relays = func(sender envelope.Address) bool {
		return slices.Contains(texts(s.AcceptedDomains()), sender.Domain())
	}
	from := envelope.Address("mailer-daemon@" + string(s.AcceptedDomains()[0]))
	r.Notify = dispatch.Notify{
		Reporter: hostname, Site: s.Site.Name, Alert: envelope.Address(s.Site.Alert),
		From: from, Sender: cmp.Or(envelope.Address(s.DefaultSender()), from),
		NullSender: relaysNullSender(s, leaf),
	}
	return r, nil
}

// relaysNullSender reports whether Exchange Online relays mail with the null
// reverse-path: only for a client certificate of an accepted domain.
func relaysNullSender(s settings.Settings, leaf *x509.Certificate) bool {
	return leaf != nil && slices.ContainsFunc(s.Senders.AcceptedDomains, func(accepted settings.Domain) bool {
		return certificate.NameWithin(leaf, string(accepted)) != ""
	})
}

// relaysNullSender reports whether the route of the settings does.
func (b *Box) relaysNullSender(ctx context.Context) bool {
	client, err := identity.Load(ctx, b.Store)
	return err == nil && b.Settings.Upstream.Method.Traits().ClientCertificate && relaysNullSender(b.Settings, client.Chain[0])
}

// submissionRoute logs in with access tokens. Notifications are sent from the
// mailbox itself, which needs no further permission.
func (b *Box) submissionRoute(j *journal.Journal) (server.Route, error) {
	s := b.Settings
	hostname, err := b.Hostname()
	if err != nil {
		return server.Route{}, err
	}
	grant, err := b.Grant(hostname)
	if err != nil {
		return server.Route{}, err
	}
	source := oauth.NewTokenSource(grant, observer{j})
	up, err := b.Submission(tokenProvider{source}, j)
	if err != nil {
		source.Close()
		return server.Route{}, err
	}
	r := b.route(up, func() {
		up.Close()
		source.Close()
	})
	mailbox := envelope.Address(s.Upstream.Submission.User)
	r.Notify = dispatch.Notify{Reporter: hostname, Site: s.Site.Name, Alert: envelope.Address(s.Site.Alert), From: mailbox, Sender: mailbox}
	return r, nil
}

// Submission opens a submission client with these tokens. It must be closed.
func (b *Box) Submission(tokens submission.TokenProvider, j *journal.Journal) (*submission.Submission, error) {
	hostname, err := b.Hostname()
	if err != nil {
		return nil, err
	}
	s := b.Settings
	section := s.Upstream.Submission
	roots, err := CAPool("upstream.submission", section.Roots)
	if err != nil {
		return nil, err
	}
	config := submission.Config{
		Hello:        hostname,
		Host:         string(section.Host),
		Port:         section.Port,
		Roots:        roots,
		Connections:  s.Upstream.Connections,
		PerMailbox:   s.Upstream.Method.Traits().ConnectionsPerAccount,
		ReplyTimeout: min(replyTimeout, s.Upstream.Timeout.Duration),
		Resolver:     dns.New(s.Upstream.DNS),
		Tokens:       tokens,
		User: func(sender envelope.Address) envelope.Address {
			return envelope.Address(section.Mailbox(string(sender)))
		},
	}
	const implicitTLS = 465 // RFC 8314 section 3.3
	if section.Port == implicitTLS {
		config.Security = transport.ImplicitTLS
	}
	if section.SendAs == settings.SendAsDefault {
		config.DefaultSender = envelope.Address(s.DefaultSender())
	}
	return submission.New(config, j), nil
}
