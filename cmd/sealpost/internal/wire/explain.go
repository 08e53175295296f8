package wire

import (
	"context"
	"errors"

	"sealpost/hal/linux/network"
	"sealpost/provisioning/settings"
	"sealpost/relay/control"
	"sealpost/relay/lan"
	"sealpost/relay/policy"
	"sealpost/relay/server"
)

// Explain decides on a message that a client would send: as the running relay does, or
// else by the settings.
func (o Options) Explain(ctx context.Context, q control.Question) (policy.Decision, error) {
	s, err := o.Settings()
	if err != nil {
		return policy.Decision{}, err
	}
	d, err := control.Client{Socket: s.ControlSocket()}.Explain(ctx, q)
	if !errors.Is(err, control.ErrNoRelay) {
		return d, err
	}
	b, err := o.Open(ExistingState)
	if errors.Is(err, ErrNoState) {
		return explain(s, false, nil, q)
	}
	if err != nil {
		return policy.Decision{}, err
	}
	d, err = explain(s, b.relaysNullSender(ctx), nil, q)
	return d, errors.Join(err, b.Close())
}

// explain decides by the settings. nullSender reports whether the route relays mail with
// the null reverse-path.
func explain(s settings.Settings, nullSender bool, users lan.Users, q control.Question) (policy.Decision, error) {
	networks := s.LAN.Allow
	if len(networks) == 0 {
		var err error
		if networks, err = network.Subnets(); err != nil {
			return policy.Decision{}, err
		}
	}
	p := policyFor(s, networks, nullSender)
	current := &currentPolicy{}
	current.current.Store(&p)
	return server.Explain(current, users, q)
}
