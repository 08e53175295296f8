package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sealpost/hal/linux/netif"
	"sealpost/provisioning/identity"
	"sealpost/provisioning/settings"
	"sealpost/relay/envelope"
	"sealpost/relay/lan"
	"sealpost/relay/policy"
	"sealpost/relay/upstream/connector"
)

const (
	// unsealPatience is how long the start waits for the TPM.
	unsealPatience = 15 * time.Second
	// upstreamPatience is the longest wait for one reply; RFC 5321 section
	// 4.5.3.2 would allow minutes, but a client is waiting too.
	upstreamPatience = time.Minute
)

// identity is the imported certificate; nil where there is none, as a
// connector may go by the site's address instead.
func (r *relay) identity(ctx context.Context) (*connector.Identity, error) {
	client, err := identity.Load(ctx, r.box.store)
	if errors.Is(err, identity.ErrNone) {
		r.journal.NoIdentity()
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	signer, err := client.Signer(r.box.tpm)
	if err != nil {
		return nil, fmt.Errorf("opening the key of the client certificate: %w", err)
	}
	r.leaf = client.Chain[0]
	shown := &connector.Identity{Chain: client.DER(), Key: signer, Name: commonName(r.leaf), Label: string(client.Key.Protection)}
	r.journal.Identity(shown.Name, shown.Label, r.leaf.NotAfter)
	return shown, nil
}

// commonName is what the connector in the tenant is named after.
func commonName(leaf *x509.Certificate) string {
	if leaf.Subject.CommonName == "" && len(leaf.DNSNames) > 0 {
		return "DNS=" + leaf.DNSNames[0]
	}
	return "CN=" + leaf.Subject.CommonName
}

// hostname is the box's name, on both sides.
func hostname(s settings.LAN) (string, error) {
	if s.Hostname != "" {
		return string(s.Hostname), nil
	}
	name, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("finding this machine's name: %w: set lan.hostname", err)
	}
	return name, nil
}

func (r *relay) lanServer(ctx context.Context, acceptor lan.Acceptor) (*lan.Server, error) {
	s := r.box.settings
	judge, err := r.policy(ctx)
	if err != nil {
		return nil, err
	}
	r.own = sync.OnceValues(func() (*tls.Certificate, error) { return r.lanCertificate(ctx) })
	return lan.New(lan.Config{
		Hostname: r.hostname,
		TLS:      lan.TLS(r.own),
		Limits: lan.Limits{
			MessageSize:  int64(s.Limits.MessageSize),
			Recipients:   s.Limits.Recipients,
			Line:         int(s.Limits.Line),
			Connections:  s.Limits.Connections,
			PerClient:    s.Limits.ConnectionsPerClient,
			Transactions: s.Limits.Transactions,
			Session:      s.Limits.Session.Duration,
			Idle:         s.Limits.Idle.Duration,
		},
	}, judge, acceptor, r.journal), nil
}

// lanCertificate is the box's own certificate; a TPM that is away costs the
// devices a familiar certificate, not their mail.
func (r *relay) lanCertificate(ctx context.Context) (*tls.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, unsealPatience)
	defer cancel()
	own, err := identity.LAN(ctx, r.box.store, r.box.sealer(), r.hostname)
	if err != nil {
		r.journal.LANCertificate(err)
		own, err = identity.Throwaway(r.hostname)
	}
	return &own, err
}

// judge is the policy at this moment: the box's own subnets change.
type judge struct {
	atomic.Pointer[policy.Policy]
}

// MayRelay implements lan.Policy.
func (j *judge) MayRelay(client netip.Addr) bool { return j.Load().MayRelay(client) }

// Sender implements lan.Policy.
func (j *judge) Sender(given envelope.Address) envelope.Address { return j.Load().Sender(given) }

// policy serves the networks that the settings name, or else those that the
// machine is in, as they change.
func (r *relay) policy(ctx context.Context) (*judge, error) {
	s, now := r.box.settings, &judge{}
	var known []netip.Prefix
	adopt := func(networks []netip.Prefix) {
		if slices.Equal(networks, known) {
			return
		}
		known = networks
		if r.appliance {
			networks = union(networks, loopback)
		}
		p := &policy.Policy{Networks: networks, DefaultSender: envelope.Address(s.DefaultSender())}
		for _, domain := range s.AcceptedDomains() {
			p.AcceptedDomains = append(p.AcceptedDomains, string(domain))
		}
		now.Store(p)
		r.journal.Serving(texts(networks))
	}
	if len(s.LAN.Allow) > 0 {
		adopt(s.LAN.Allow)
		return now, nil
	}
	networks, err := netif.Subnets()
	if err != nil {
		return nil, err
	}
	adopt(networks)
	r.serving.Go(func() {
		if err := netif.Watch(ctx, adopt); err != nil && ctx.Err() == nil {
			r.journal.MachineFault("network", err)
		}
	})
	return now, nil
}

// union is the networks of both lists, each once.
func union(a, b []netip.Prefix) []netip.Prefix {
	all := slices.Clone(a)
	for _, network := range b {
		if !slices.Contains(all, network) {
			all = append(all, network)
		}
	}
	return all
}

func texts(networks []netip.Prefix) []string {
	var result []string
	for _, network := range networks {
		result = append(result, network.String())
	}
	return result
}
