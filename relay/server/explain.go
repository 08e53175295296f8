package server

import (
	"context"

	"sealpost/hal/fault"
	"sealpost/relay/control"
	"sealpost/relay/lan"
	"sealpost/relay/policy"
)

// Explain implements [control.Relay].
func (s *Server) Explain(_ context.Context, q control.Question) (policy.Decision, error) {
	return Explain(s.policy, s.config.Users, q)
}

// Explain decides on a message that a client would send.
func Explain(p Policy, users lan.Users, q control.Question) (policy.Decision, error) {
	r := policy.Request{Client: p.Client(q.Client), Sender: q.From, Recipients: q.To, Authors: q.Authors}
	r.Client.Secure = q.TLS
	if q.User != "" {
		user, known := policy.User{}, false
		if users != nil {
			user, known = users.User(q.User)
		}
		if !known {
			return policy.Decision{}, fault.New(fault.NoUser, "there is no user of that name").With("user", q.User)
		}
		r.Client.User = &user
	}
	return p.Decide(r), nil
}
