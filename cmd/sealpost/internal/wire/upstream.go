package wire

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
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

// Routes opens the delivery routes in the settings, in the order of preference. If
// there are several, one that cannot be opened does not keep mail from the others: it
// fails each attempt, and is opened again for the next one.
func (b *Box) Routes(ctx context.Context, j *journal.Journal) ([]server.Route, error) {
	var (
		routes []server.Route
		faults []error
	)
	methods := b.Settings.Upstream.Method
	for _, m := range methods {
		r, err := b.Route(ctx, m, j)
		if err != nil {
			faults = append(faults, err)
			r = b.unopened(m, err, j)
		}
		routes = append(routes, r)
	}
	if len(faults) == len(methods) {
		for _, r := range routes {
			r.Close()
		}
		return nil, errors.Join(faults...)
	}
	b.shareNotifier(routes)
	return routes, nil
}

// Route opens the delivery route of one method. This is the only place that
// distinguishes the delivery methods.
func (b *Box) Route(ctx context.Context, m settings.Method, j *journal.Journal) (server.Route, error) {
	switch traits := m.Traits(); {
	case traits.Mailbox:
		return b.submissionRoute(m, j)
	case traits.RecipientMX:
		return b.directRoute(m, j)
	}
	return b.connectorRoute(ctx, m, j)
}

// shareNotifier lets every route send notifications from the mailbox of the one that
// may use no other sender: which route a notification takes is not known when it is
// written.
func (b *Box) shareNotifier(routes []server.Route) {
	s := b.Settings
	mailbox := envelope.Address(s.Upstream.Submission.User)
	if !s.Upstream.Method.Traits().Mailbox || !slices.Contains(texts(s.AcceptedDomains()), mailbox.Domain()) {
		return
	}
	for i := range routes {
		routes[i].Notify.From, routes[i].Notify.Sender = mailbox, mailbox
	}
}

// route returns what all delivery methods have in common.
func (b *Box) route(m settings.Method, u dispatch.Upstream, closes func()) server.Route {
	s := b.Settings
	limits := s.Upstream.LimitsOf(m)
	return server.Route{Close: closes, Route: dispatch.Route{
		Name:     string(m),
		Upstream: u,
		Takes:    b.takes(m),
		Limits: throttle.Limits{
			Connections: limits.Connections,
			PerAccount:  limits.ConnectionsPerAccount,
			Rate:        throttle.Rate{Messages: limits.MessagesPerMinute},
			PerDay:      limits.RecipientsPerDay,
		},
		Retry: dispatch.Retry{
			First:   s.Retry.First.Duration,
			Longest: s.Retry.Longest.Duration,
			Age:     s.Retry.Age.Duration,
			Warning: s.Retry.Warning.Duration,
		},
	}}
}

// takes returns which recipients' mail leaves by a method; nil means all.
func (b *Box) takes(m settings.Method) func(envelope.Address) bool {
	if len(b.Settings.Upstream.Recipients) == 0 {
		return nil
	}
	return func(recipient envelope.Address) bool {
		return slices.Contains(b.Settings.MethodsFor(recipient.Domain()), m)
	}
}

// connectorRoute delivers with the client certificate. Exchange Online relays mail
// with the null reverse-path only if the certificate is for an accepted domain.
func (b *Box) connectorRoute(ctx context.Context, m settings.Method, j *journal.Journal) (server.Route, error) {
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
		Connections:  s.Upstream.LimitsOf(m).Connections,
		ReplyTimeout: min(replyTimeout, s.Upstream.Timeout.Duration),
		Resolver:     dns.New(s.Upstream.DNS),
	}, j)
	r := b.route(m, up, up.Close)
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

// relaysNullSender reports whether every route of the settings does.
func (b *Box) relaysNullSender(ctx context.Context) bool {
	traits := b.Settings.Upstream.Method.Traits()
	if !traits.ClientCertificate {
		return !traits.Mailbox
	}
	client, err := identity.Load(ctx, b.Store)
	return err == nil && !traits.Mailbox && relaysNullSender(b.Settings, client.Chain[0])
}

// submissionRoute logs in with access tokens. Notifications are sent from the
// mailbox itself, which needs no further permission.
func (b *Box) submissionRoute(m settings.Method, j *journal.Journal) (server.Route, error) {
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
	r := b.route(m, up, func() {
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
		PerMailbox:   settings.MethodSubmission.Traits().ConnectionsPerAccount,
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
