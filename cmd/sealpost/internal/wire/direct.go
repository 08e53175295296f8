package wire

import (
	"cmp"
	"context"
	"crypto/tls"

	"sealpost/provisioning/settings"
	"sealpost/provisioning/state"
	"sealpost/relay/dispatch"
	"sealpost/relay/envelope"
	"sealpost/relay/journal"
	"sealpost/relay/report"
	"sealpost/relay/server"
	"sealpost/relay/upstream/direct"
	"sealpost/relay/upstream/dns"
	"sealpost/relay/upstream/mtasts"
)

// directRoute delivers to the mail hosts of the recipients' domains. Any host accepts the
// null reverse-path of notifications.
func (b *Box) directRoute(m settings.Method, j *journal.Journal) (server.Route, error) {
	s := b.Settings
	hostname, err := b.Hostname()
	if err != nil {
		return server.Route{}, err
	}
	roots, err := CAPool("upstream.direct", s.Upstream.Direct.Roots)
	if err != nil {
		return server.Route{}, err
	}
	resolver := b.directResolver()
	up := direct.New(direct.Config{
		Hello:        hostname,
		Port:         s.Upstream.Direct.Port,
		Roots:        roots,
		Connections:  s.Upstream.LimitsOf(m).Connections,
		PerDomain:    s.Upstream.LimitsOf(m).ConnectionsPerAccount,
		ReplyTimeout: min(replyTimeout, s.Upstream.Timeout.Duration),
		Resolver:     resolver,
		Policies:     mtasts.NewCache(resolver, roots, policyStore{b.Store}),
		Signer:       newDKIMSigner(b, func(err error) { j.MachineFault("DKIM", err) }),
		Domains:      directDomains(s.Upstream.Direct),
	}, j)
	r := b.route(m, up, up.Close)
	r.Classify, r.Domains = report.ClassifyReceiver, true
	from := envelope.Address("mailer-daemon@" + string(s.AcceptedDomains()[0]))
	r.Notify = dispatch.Notify{
		Reporter: hostname, Site: s.Site.Name, Alert: envelope.Address(s.Site.Alert),
		From: from, Sender: cmp.Or(envelope.Address(s.DefaultSender()), from), NullSender: true,
	}
	return r, nil
}

// directResolver returns the resolver that validates, or else one that does not.
func (b *Box) directResolver() *dns.Resolver {
	server, name := b.Settings.Upstream.Direct.Resolver.Server()
	switch {
	case !server.IsValid():
		return dns.New(b.Settings.Upstream.DNS)
	case name == "":
		return dns.NewValidating(server, nil)
	}
	useOwnRoots()
	return dns.NewValidating(server, &tls.Config{ServerName: name, MinVersion: tls.VersionTLS12})
}

func directDomains(d settings.Direct) map[string]direct.TLS {
	domains := make(map[string]direct.TLS)
	for _, each := range d.Domains {
		domains[string(each.Name)] = direct.TLS(each.TLS)
	}
	return domains
}

// policyStore keeps MTA-STS policies in the state.
type policyStore struct{ store *state.Store }

const sectionPolicies = "mta-sts"

// Load implements mtasts.Store.
func (p policyStore) Load(ctx context.Context) ([]byte, error) {
	sections, err := p.store.Load(ctx)
	return sections[sectionPolicies], err
}

// Save implements mtasts.Store.
func (p policyStore) Save(ctx context.Context, text []byte) error {
	return p.store.Update(ctx, func(sections state.Sections) error {
		sections[sectionPolicies] = text
		return nil
	})
}
