package console

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"sealpost/provisioning/operator"
	"sealpost/provisioning/preflight"
	"sealpost/provisioning/settings"
)

// network asks whether DHCP is to stay.
func (u *setup) network(ctx context.Context) error {
	var status operator.Status
	u.t.Print("\n")
	_, err := u.runCancellable(ctx, func(ctx context.Context) (err error) {
		status, err = u.box.Status(ctx)
		return err
	})
	if err != nil {
		return err
	}
	u.showNetwork(status.Network)
	preset := "1"
	if u.draft.get("network.address") != "" {
		preset = "2"
	}
	return u.choose(ctx, "Network", preset, []choice{
		{"by DHCP, as it is", func(context.Context) error { return u.byDHCP() }},
		{"an address of its own", func(ctx context.Context) error { return u.byHand(ctx, status.Network) }},
	})
}

func (s *session) showNetwork(n operator.Network) {
	if n.Trouble != "" {
		s.t.Say("%s", n.Trouble)
	}
	if len(n.Addresses) == 0 {
		return
	}
	s.t.Item("  address", list(n.Addresses)+" by "+n.Method)
	if n.Gateway.IsValid() {
		s.t.Item("  gateway", n.Gateway.String())
	}
	s.t.Item("  DNS", orElse(list(n.DNS), none))
}

// list writes values with commas.
func list[T fmt.Stringer](values []T) string {
	words := make([]string, len(values))
	for i := range values {
		words[i] = values[i].String()
	}
	return strings.Join(words, ", ")
}

// byDHCP leaves name servers that were set beside DHCP as they are.
func (u *setup) byDHCP() error {
	if u.draft.get("network.address") == "" {
		return nil
	}
	return errors.Join(u.draft.put("network.gateway", ""), u.draft.put("network.address", ""), u.draft.put("network.dns", ""))
}

// byHand asks for a fixed address, and proposes the one that the box has.
func (u *setup) byHand(ctx context.Context, now operator.Network) error {
	var address, gateway string
	for _, a := range now.Addresses {
		if address == "" && a.Addr().Is4() && !a.Addr().IsLinkLocalUnicast() {
			address = a.String()
		}
	}
	if now.Gateway.IsValid() {
		gateway = now.Gateway.String()
	}
	return u.follow(ctx,
		func(ctx context.Context) error {
			const key = "network.address"
			return u.ask(ctx, question{"Address with prefix length", orElse(u.draft.get(key), address), func(a string) error { return u.draft.put(key, a) }})
		},
		func(ctx context.Context) error {
			const key = "network.gateway"
			return u.askFor(ctx, "Gateway", orElse(u.draft.get(key), gateway), func(a string) error { return u.draft.put(key, a) })
		},
		func(ctx context.Context) error {
			const key = "network.dns"
			return u.ask(ctx, question{"DNS servers", orElse(u.draft.get(key), list(now.DNS)), func(a string) error { return u.draft.putList(key, a) }})
		})
}

// method says which way out would work, and takes one of this release.
func (u *setup) method(ctx context.Context) error {
	if err := u.probe(ctx); err != nil {
		return err
	}
	preset := orElse(u.draft.get("upstream.method"), u.ways.Method())
	return u.ask(ctx, question{"Way out", preset, func(method string) error {
		if method == string(settings.MethodConnector) {
			method = "" // the default
			u.candidate.ClientSecret = ""
		}
		return u.draft.put("upstream.method", method)
	}})
}

// probe tries the ways out of the site. Finding none does not prevent
// going on.
func (u *setup) probe(ctx context.Context) error {
	domain, _, _ := strings.Cut(u.draft.get("senders.accepted_domains"), ",")
	target := operator.Target{Domain: domain, Host: u.draft.get("upstream.connector.host"), CA: u.draft.get("upstream.connector.ca")}
	u.t.Print("\n")
	u.t.Say("Trying the ways out of this network; Ctrl-C stops it.")
	u.ways = preflight.Ways{}
	done, err := u.runCancellable(ctx, func(ctx context.Context) (err error) {
		u.ways, err = u.box.Probe(ctx, target)
		return err
	})
	if errors.Is(err, errBack) {
		u.t.Say("Stopped; you can go on without.")
		return nil
	}
	if !done {
		return err
	}
	w := u.ways
	u.t.Item("  host", w.Host)
	u.t.Item("  port 25", verdict(w.Port25))
	u.t.Item("  TLS", verdict(w.STARTTLS))
	u.t.Item("  port 587", verdict(w.Port587))
	u.t.Item("  advice", w.Advice)
	return nil
}

func verdict(r preflight.Reach) string {
	if r.OK {
		return "works: " + r.Words
	}
	return "does not work: " + r.Words
}

// host asks where the tenant takes mail; an MX that the relay would go by needs
// no mention in the settings.
func (u *setup) host(ctx context.Context) error {
	const key, mx = "upstream.connector.host", "MX"
	u.t.Print("\n")
	preset := orElse(u.draft.get(key), orElse(u.ways.Host, mx))
	before, wanted := u.draft.get(key), ""
	err := u.ask(ctx, question{"The tenant's mail host", preset, func(host string) error {
		wanted = host
		if host == mx || before == "" && host == u.ways.Host && u.ways.ByMX {
			host = ""
		}
		return u.draft.put(key, host)
	}})
	if err != nil {
		return err
	}
	if wanted != u.ways.Host && (wanted != mx || before != "") {
		if err := u.probe(ctx); err != nil {
			return err
		}
	}
	if u.ways.Authority == "" {
		return nil
	}
	return u.authority(ctx)
}

// authority offers to trust the host's root certificate if it is not a known one.
func (u *setup) authority(ctx context.Context) error {
	u.t.Print("\n")
	u.t.Say("The certificate of %s comes from an authority that this box does not know: %s. Exchange Online's never does. If it is your own host, paste that authority's certificate; otherwise something stands between.", u.ways.Host, u.ways.Authority)
	return u.choose(ctx, "Authority", "1", []choice{
		{"paste its certificate", u.pasteAuthority},
		{"go on without; no mail leaves", func(context.Context) error { return nil }},
	})
}

func (u *setup) pasteAuthority(ctx context.Context) error {
	err := u.askUntilValid(ctx, func() error {
		text, err := u.pasteCertificate(ctx)
		if err != nil {
			return err
		}
		return u.draft.put("upstream.connector.ca", strings.TrimSpace(string(text))+"\n")
	})
	if err != nil {
		return err
	}
	return u.probe(ctx)
}
