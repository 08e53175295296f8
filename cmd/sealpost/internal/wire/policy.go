package wire

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"sealpost/hal/linux/network"
	"sealpost/provisioning/settings"
	"sealpost/provisioning/user"
	"sealpost/relay/envelope"
	"sealpost/relay/policy"
	"sealpost/relay/server"
)

// policyFor returns the policy of the settings for networks that may send. nullSender
// reports whether the route relays mail with the null reverse-path.
func policyFor(s settings.Settings, hostname string, networks []netip.Prefix, nullSender bool) policy.Policy {
	p := policy.Policy{
		Hostname:        hostname,
		Networks:        networks,
		RequireTLS:      s.LAN.RequireTLS,
		LegacyTLS:       s.LAN.LegacyTLS,
		RequireAuth:     s.LAN.RequireAuth,
		AcceptedDomains: texts(s.AcceptedDomains()),
		DefaultSender:   envelope.Address(s.DefaultSender()),
		Foreign:         policy.Treatment(s.Senders.Foreign),
		Empty:           policy.Treatment(s.Senders.Empty),
		NullSender:      nullSender,
		Author:          policy.Treatment(s.Senders.From),
		Recipients:      patterns(s.Recipients.Allow),
	}
	for _, r := range s.Senders.Map {
		p.Rewrites = append(p.Rewrites, policy.Rewrite{From: policy.Pattern(r.From), To: envelope.Address(r.To)})
	}
	for _, d := range s.Devices {
		p.Devices = append(p.Devices, policy.Device{
			Clients:    d.Address.Prefix,
			MAC:        string(d.MAC),
			Name:       d.Name,
			Refuse:     d.Refuse,
			RequireTLS: d.TLS == settings.DeviceTLSRequired,
			LegacyTLS:  d.TLS == settings.DeviceTLSLegacy,
			Auth:       policy.Auth(d.Auth),
			Sender:     envelope.Address(d.Sender),
			Senders:    patterns(d.Senders),
			Recipients: patterns(d.Recipients),
			Tag:        string(d.Tag),
			Limits: policy.Limits{
				Connections:       d.Connections,
				MessagesPerMinute: d.MessagesPerMinute,
				MessageSize:       int64(d.MessageSize),
				Recipients:        d.RecipientsPerMessage,
				SpoolShare:        d.SpoolShare,
			},
			SilentAfter: d.SilentAfter.Duration,
		})
	}
	return p
}

// patterns converts the patterns of the settings.
func patterns[T ~string](all []T) []policy.Pattern {
	var result []policy.Pattern
	for _, p := range all {
		result = append(result, policy.Pattern(p))
	}
	return result
}

// currentPolicy is the policy as it is now: it changes with the box's subnets and with
// learn mode.
type currentPolicy struct {
	current    atomic.Pointer[policy.Policy]
	users      *user.Directory // nil if there are none
	neighbours network.Neighbours
	mu         sync.Mutex // held while current is replaced
}

// snapshot returns the policy, with the networks from which users may log in.
func (c *currentPolicy) snapshot() *policy.Policy {
	current := c.current.Load()
	if c.users == nil {
		return current
	}
	logins := c.users.Clients()
	if len(logins) == 0 {
		return current
	}
	p := *current
	p.Logins = logins
	return &p
}

var _ server.Policy = (*currentPolicy)(nil)

// change replaces the policy by a changed copy.
func (c *currentPolicy) change(change func(*policy.Policy)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	changed := *c.current.Load()
	change(&changed)
	c.current.Store(&changed)
}

// Learn implements [server.Policy].
func (c *currentPolicy) Learn(networks []netip.Prefix) {
	c.change(func(p *policy.Policy) { p.Learning = networks })
}

// Client implements lan.Policy.
func (c *currentPolicy) Client(address netip.Addr) policy.Client {
	return policy.Client{Address: address, MAC: c.neighbours.HardwareAddress(address)}
}

// Access implements lan.Policy.
func (c *currentPolicy) Access(client policy.Client) policy.Access {
	return c.snapshot().Access(client)
}

// Connect implements lan.Policy.
func (c *currentPolicy) Connect(client policy.Client) (policy.Access, policy.Verdict) {
	return c.snapshot().Connect(client)
}

// LogIn implements lan.Policy.
func (c *currentPolicy) LogIn(client policy.Client, u policy.User) (*policy.User, policy.Verdict) {
	return c.snapshot().LogIn(client, u)
}

// Decide decides on a whole message.
func (c *currentPolicy) Decide(r policy.Request) policy.Decision { return c.snapshot().Decide(r) }

// Sender implements lan.Policy.
func (c *currentPolicy) Sender(client policy.Client, sender envelope.Address) (envelope.Address, policy.Verdict) {
	return c.snapshot().Sender(client, sender)
}

// Recipient implements lan.Policy.
func (c *currentPolicy) Recipient(client policy.Client, recipient envelope.Address) policy.Verdict {
	return c.snapshot().Recipient(client, recipient)
}

// From implements lan.Policy.
func (c *currentPolicy) From(client policy.Client, sender envelope.Address, authors []envelope.Address) (envelope.Address, policy.Verdict) {
	return c.snapshot().From(client, sender, authors)
}

// Subnets implements [server.Parts].
func (*Relay) Subnets() ([]netip.Prefix, error) { return network.Subnets() }

// loopback is the box itself, which sends test messages on an appliance.
var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// Policy implements [server.Parts]: it allows the networks in the settings, or else
// the machine's own subnets, as they change.
func (r *Relay) Policy() (server.Policy, func(context.Context) error, error) {
	s := r.Settings
	p := policyFor(s, r.hostname, nil, r.nullSender)
	current := &currentPolicy{users: r.users}
	current.current.Store(&p)
	var previous []netip.Prefix
	serve := func(networks []netip.Prefix) {
		if slices.Equal(networks, previous) {
			return
		}
		previous = networks
		if r.Appliance {
			networks = union(networks, loopback)
		}
		current.change(func(p *policy.Policy) { p.Networks = networks })
		var served []string
		for _, network := range networks {
			served = append(served, network.String())
		}
		r.Journal.Serving(served)
	}
	if len(s.LAN.Allow) > 0 {
		serve(s.LAN.Allow)
		return current, nil, nil
	}
	networks, err := network.Subnets()
	if err != nil {
		return nil, nil, err
	}
	serve(networks)
	return current, func(ctx context.Context) error { return network.WatchSubnets(ctx, serve) }, nil
}

// union returns the networks of both lists without duplicates.
func union(a, b []netip.Prefix) []netip.Prefix {
	all := slices.Clone(a)
	for _, network := range b {
		if !slices.Contains(all, network) {
			all = append(all, network)
		}
	}
	return all
}
