package console

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"sealpost/hal/fault"
	"sealpost/provisioning/operator"
	"sealpost/provisioning/preflight"
	"sealpost/provisioning/settings"
)

// network asks whether to use DHCP or a static address.
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
		{"DHCP", func(context.Context) error { return u.useDHCP() }},
		{"a static address", func(ctx context.Context) error { return u.useStatic(ctx, status.Network) }},
	})
}

func (s *session) showNetwork(n operator.Network) {
	if n.Trouble != "" {
		s.t.Say("%s", n.Trouble)
	}
	addresses := preflight.Addresses(n.Method, n.Addresses)
	s.t.Item("  address", orElse(addresses, "none yet"))
	if addresses == "" {
		return
	}
	if n.Gateway.IsValid() {
		s.t.Item("  gateway", n.Gateway.String())
	}
	s.t.Item("  DNS", orElse(list(n.DNS), none))
}

// list joins values with commas.
func list[T fmt.Stringer](values []T) string {
	texts := make([]string, len(values))
	for i := range values {
		texts[i] = values[i].String()
	}
	return strings.Join(texts, ", ")
}

// useDHCP keeps name servers that were set together with DHCP.
func (u *setup) useDHCP() error {
	if u.draft.get("network.address") == "" {
		return nil
	}
	return errors.Join(u.draft.put("network.gateway", ""), u.draft.put("network.address", ""), u.draft.put("network.dns", ""))
}

// useStatic asks for a static address, and proposes the current one.
func (u *setup) useStatic(ctx context.Context, now operator.Network) error {
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
			return u.askOptional(ctx, "Gateway", orElse(u.draft.get(key), gateway), func(a string) error { return u.draft.put(key, a) })
		},
		func(ctx context.Context) error {
			const key = "network.dns"
			return u.ask(ctx, question{"DNS servers", orElse(u.draft.get(key), list(now.DNS)), func(a string) error { return u.draft.putList(key, a) }})
		})
}

// method asks for the delivery method, after it has shown which would work. It asks
// for the domains again as long as the first one is unknown and the answer changes.
func (u *setup) method(ctx context.Context) error {
	for changed := true; changed; {
		if err := u.probe(ctx); err != nil {
			return err
		}
		before := u.draft.get(domainsKey)
		if u.unknown {
			if err := u.askDomains(ctx); err != nil {
				return err
			}
		}
		changed = u.draft.get(domainsKey) != before
	}
	preset := orElse(u.draft.get("upstream.method"), u.probed.Method())
	return u.ask(ctx, question{"Delivery method", preset, func(method string) error {
		if method == string(settings.MethodConnector) {
			method = "" // the default
			u.candidate.ClientSecret = ""
		}
		if len(settings.SplitMethods(method)) > 1 {
			return u.draft.putList("upstream.method", method)
		}
		return u.draft.put("upstream.method", method)
	}})
}

// probe shows which delivery methods would work from this network. The setup
// continues if none does.
func (u *setup) probe(ctx context.Context) error {
	domain, _, _ := strings.Cut(u.draft.get(domainsKey), ",")
	target := operator.Target{Domain: domain, Host: u.draft.get("upstream.connector.host"), CA: u.draft.get("upstream.connector.ca")}
	u.t.Print("\n")
	u.t.Say("Checking which delivery methods work from this network; Ctrl-C stops it.")
	u.probed, u.unknown = preflight.ProbeResult{}, false
	done, err := u.runCancellable(ctx, func(ctx context.Context) (err error) {
		u.probed, err = u.box.Probe(ctx, target)
		u.unknown = fault.CodeOf(err) == fault.DomainUnknown
		return err
	})
	if errors.Is(err, errBack) {
		u.t.Say("Stopped; you can continue without it.")
		return nil
	}
	if !done {
		return err
	}
	p := u.probed
	u.t.Item("  host", p.Host)
	u.t.Item("  "+p.PortName(), verdict(p.Port25))
	u.t.Item("  TLS", verdict(p.STARTTLS))
	u.t.Item("  port 587", verdict(p.Port587))
	u.t.Item("  advice", p.Advice)
	return nil
}

func verdict(r preflight.Reach) string {
	if r.OK {
		return "works: " + r.Text
	}
	return "does not work: " + r.Text
}

// host asks for the tenant's mail host. It leaves the setting empty if the relay
// would find the host by MX.
func (u *setup) host(ctx context.Context) error {
	const key, mx = "upstream.connector.host", "MX"
	u.t.Print("\n")
	preset := orElse(u.draft.get(key), orElse(u.probed.Host, mx))
	before, value := u.draft.get(key), ""
	err := u.ask(ctx, question{"The tenant's mail host", preset, func(host string) error {
		value = host
		if host == mx || before == "" && host == u.probed.Host && u.probed.ByMX {
			host = ""
		}
		return u.draft.put(key, host)
	}})
	if err != nil {
		return err
	}
	if value != u.probed.Host && (value != mx || before != "") {
		if err := u.probe(ctx); err != nil {
			return err
		}
	}
	if u.probed.Authority == "" {
		return nil
	}
	return u.authority(ctx)
}

// authority offers to trust the host's root certificate if it is not a known one.
func (u *setup) authority(ctx context.Context) error {
	u.t.Print("\n")
	u.t.Say("The certificate of %s is from an unknown authority: %s. Exchange Online uses public authorities. If this is your own host, paste the certificate of its authority; otherwise a device in between intercepts the connection.", u.probed.Host, u.probed.Authority)
	return u.choose(ctx, "Authority", "1", []choice{
		{"paste its certificate", u.pasteAuthority},
		{"continue without it; no mail is sent", func(context.Context) error { return nil }},
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
