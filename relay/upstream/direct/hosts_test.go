package direct

import (
	"errors"
	"slices"
	"testing"

	"sealpost/relay/journal"
	"sealpost/relay/upstream/dns"
	"sealpost/relay/upstream/transport"
)

func TestHosts_DoNotLeadBackToThisHost(t *testing.T) {
	for name, c := range map[string]struct {
		domain string
		mx     []dns.MX
		want   []string
	}{
		"another host":               {"a.com", []dns.MX{{Preference: 10, Host: "mx.a.com"}}, []string{"mx.a.com"}},
		"this host":                  {"a.com", []dns.MX{{Preference: 10, Host: "relay.contoso.com"}}, nil},
		"this host before others":    {"a.com", []dns.MX{{Preference: 10, Host: "relay.contoso.com"}, {Preference: 20, Host: "mx.a.com"}}, nil},
		"this host beside another":   {"a.com", []dns.MX{{Preference: 10, Host: "mx.a.com"}, {Preference: 10, Host: "relay.contoso.com"}}, nil},
		"this host after another":    {"a.com", []dns.MX{{Preference: 20, Host: "relay.contoso.com"}, {Preference: 10, Host: "mx.a.com"}, {Preference: 30, Host: "z.a.com"}}, []string{"mx.a.com"}},
		"the domain is this host":    {"relay.contoso.com", nil, nil},
		"the domain is another host": {"mx.a.com", nil, []string{"mx.a.com"}},
	} {
		z := &zones{mx: map[string][]dns.MX{c.domain: c.mx}}
		m := method{config: Config{Hello: "Relay.contoso.com", Resolver: z, Policies: z}, journal: journal.Discard()}
		hosts, err := m.Hosts(t.Context(), transport.Destination{Domain: c.domain})
		var got []string
		for _, host := range hosts {
			got = append(got, host.Name)
		}
		if none := (*noMail)(nil); !slices.Equal(got, c.want) || (c.want == nil) != (errors.As(err, &none) && none.reply.Status.String() == "5.4.6") {
			t.Errorf("%s: got %v, %v, want %v", name, got, err, c.want)
		}
	}
}
