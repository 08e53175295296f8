// Package diagnose finds out why mail is not delivered: the preflight, the steps to
// a mailbox, the delivery methods that a network allows, and a traced test message.
//
// It queries the parts and the running relay, and returns findings and steps. It
// changes nothing, and must not print.
package diagnose

import (
	"context"
	"errors"
	"io"
	"iter"
	"net/netip"
	"strings"
	"time"

	"sealpost/cmd/sealpost/internal/machine"
	"sealpost/cmd/sealpost/internal/wire"
	"sealpost/hal/fault"
	"sealpost/hal/linux/clock"
	"sealpost/provisioning/candidate"
	"sealpost/provisioning/certificate"
	"sealpost/provisioning/identity"
	"sealpost/provisioning/preflight"
	"sealpost/provisioning/settings"
	"sealpost/provisioning/tenant"
	"sealpost/relay/control"
	"sealpost/relay/envelope"
	"sealpost/relay/journal"
	"sealpost/relay/upstream"
	"sealpost/relay/upstream/dns"
)

// Check returns what would prevent delivery.
func Check(ctx context.Context, b *wire.Box) iter.Seq[preflight.Finding] {
	return preflight.Run(ctx, checkTimeout(b.Settings), checksFor(ctx, b))
}

// checkTimeout is how long one check may take: longer than a connection to the
// upstream, whose error says what is wrong.
func checkTimeout(s settings.Settings) time.Duration {
	return s.Upstream.Timeout.Duration + 30*time.Second
}

// inspection is a preflight of one box.
type inspection struct{ *wire.Box }

// checksFor returns the checks of a box, in the order of a delivery.
func checksFor(ctx context.Context, box *wire.Box) []preflight.Check {
	b := inspection{box}
	traits, inTPM := b.Settings.Upstream.Method.Traits(), b.Settings.Keys.Protection == settings.ProtectionTPM
	checks := []preflight.Check{{Name: "network", Run: checkNetwork}, {Name: "clock", Run: checkClock}}
	add := func(name string, look func(context.Context) []preflight.Finding) {
		checks = append(checks, preflight.Check{Name: name, Run: look})
	}
	add("settings", b.checkSettings)
	if inTPM {
		add("TPM", func(ctx context.Context) []preflight.Finding { return preflight.TPM(b.TPM.State(ctx)) })
	}
	if traits.ClientCertificate {
		add("certificate", b.checkCertificate)
	}
	add("relay", b.checkRelay)
	add("spool", b.checkSpool)
	upstream := func(m settings.Method) string {
		if len(b.Settings.Upstream.Method) > 1 {
			return string(m)
		}
		return "upstream"
	}
	if traits.Mailbox {
		// It does several steps, each within its own timeout.
		steps := len((&verification{}).steps())
		checks = append(checks, preflight.Check{Name: upstream(settings.MethodSubmission), Run: b.checkMailbox, Timeout: time.Duration(steps) * checkTimeout(b.Settings)})
	}
	if traits.ClientCertificate {
		add("domains", b.checkDomains)
		add(upstream(settings.MethodConnector), b.checkUpstream)
	}
	if traits.RecipientMX {
		checks = append(checks, authentication{b, dns.New(b.Settings.Upstream.DNS)}.checks()...)
	}
	const timeout = 10 * time.Second
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if _, err := machine.Ask(ctx); err != nil && ctx.Err() == nil {
		return checks[1:] // the operating system manages the network
	}
	return checks
}

func checkNetwork(ctx context.Context) []preflight.Finding {
	s, err := machine.Ask(ctx)
	if err != nil {
		return preflight.Problem(err)
	}
	return preflight.Network(s.Network.Method, s.Network.Addresses, s.Network.Trouble)
}

func checkClock(ctx context.Context) []preflight.Finding {
	s, err := machine.Ask(ctx)
	if err != nil {
		// Outside the appliance the operating system keeps the clock.
		return preflight.Clock(true, "")
	}
	return preflight.Clock(clock.Trusted(), s.Clock.Doubt)
}

// checkSettings has a finding only if something is wrong.
func (b inspection) checkSettings(ctx context.Context) []preflight.Finding {
	if err := b.Authentic(ctx); errors.Is(err, candidate.ErrForeign) {
		return preflight.Problem(err)
	}
	return nil // a fault of the TPM is another check's
}

func (b inspection) checkCertificate(ctx context.Context) []preflight.Finding {
	client, err := identity.Load(ctx, b.Store)
	if errors.Is(err, identity.ErrNone) {
		return preflight.NoCertificate()
	}
	if err != nil {
		return preflight.Problem(err)
	}
	return preflight.Certificate(b.Examine(client))
}

// startTimeout is how long a relay may take to start.
const startTimeout = 20 * time.Second

// askRelay asks the relay; on an appliance it retries, since the relay may have
// just been started.
func askRelay[A any](ctx context.Context, b inspection, ask func(control.Client, context.Context) (A, error)) (A, error) {
	const pause = 200 * time.Millisecond
	deadline := time.Now().Add(startTimeout)
	if _, err := machine.Ask(ctx); err != nil {
		deadline = time.Time{}
	}
	for {
		response, err := ask(control.Client{Socket: b.Settings.ControlSocket()}, ctx)
		if err == nil || ctx.Err() != nil || time.Now().After(deadline) {
			return response, err
		}
		time.Sleep(pause)
	}
}

func (b inspection) checkRelay(ctx context.Context) []preflight.Finding {
	status, err := askRelay(ctx, b, control.Client.Status)
	if err != nil {
		return preflight.Problem(err)
	}
	var found []preflight.Finding
	for _, h := range status.Holds() {
		found = append(found, preflight.Held(h.Text, h.Code, status.Substitute())...)
	}
	if len(found) == 0 {
		return preflight.Held("", "", "")
	}
	return found
}

func (b inspection) checkSpool(ctx context.Context) []preflight.Finding {
	found, err := askRelay(ctx, b, control.Client.SpoolStat)
	if fault.CodeOf(err) == fault.SpoolOpening {
		return preflight.SpoolOpening()
	}
	if err != nil {
		return preflight.Problem(err)
	}
	return preflight.Spool(found.Messages, found.Room, found.Size)
}

func (b inspection) checkDomains(ctx context.Context) []preflight.Finding {
	var findings []preflight.Finding
	resolver := dns.New(b.Settings.Upstream.DNS)
	for _, domain := range b.Settings.AcceptedDomains() {
		records, err := resolver.LookupMX(ctx, string(domain))
		var hosts []string
		for _, mx := range records {
			hosts = append(hosts, strings.TrimSuffix(mx.Host, "."))
		}
		findings = append(findings, preflight.MX(string(domain), b.Settings.Upstream.Cloud, hosts, err)...)
	}
	for i, f := range findings {
		// A fixed host needs no MX.
		if f.Level == certificate.Problem && b.Settings.Upstream.Connector.Host != "" {
			findings[i].Level = certificate.Note
		}
	}
	return append(findings, preflight.Cloud(b.Settings)...)
}

// checkUpstream makes a delivery without the content.
func (b inspection) checkUpstream(ctx context.Context) []preflight.Finding {
	route, err := b.Route(ctx, settings.MethodConnector, journal.Discard())
	if err != nil {
		return preflight.Problem(err)
	}
	defer route.Close()
	n := route.Notify
	e := envelope.Envelope{ID: "check", Sender: n.Sender, Recipients: []envelope.Address{n.Sender}}
	if n.Alert != "" {
		e.Recipients[0] = n.Alert
	}
	result, err := route.Upstream.Deliver(ctx, e, plainContent(""), upstream.Transactions{ShouldSend: noContent})
	if fault := (*upstream.Unavailable)(nil); errors.As(err, &fault) {
		err = errors.New(fault.Reason)
	}
	var refused string
	if err == nil && !result.Replies[0].Positive() {
		refused = result.Replies[0].String()
	}
	return append(preflight.Upstream(result.Connection.Certificate(), refused, err), b.checkDANE(ctx, result.Connection.Host)...)
}

// checkDANE has no finding for a host without a domain name, or if the records cannot be
// looked up: delivery does not need them.
func (b inspection) checkDANE(ctx context.Context, host string) []preflight.Finding {
	if _, err := netip.ParseAddr(host); err == nil || !strings.Contains(host, ".") {
		return nil
	}
	records, validated, err := dns.New(b.Settings.Upstream.DNS).LookupTLSA(ctx, host, uint16(b.Settings.Upstream.Connector.Port))
	if err != nil {
		return nil
	}
	return preflight.DANE(host, len(records), validated)
}

// checkMailbox runs the verification and returns its last step: the first problem
// or success.
func (b inspection) checkMailbox(ctx context.Context) []preflight.Finding {
	w := &verification{Box: b.Box, site: tenant.Site{Settings: b.Settings}}
	var last preflight.Finding
	for last = range preflight.Run(ctx, checkTimeout(b.Settings), w.steps()) {
		if last.Level == certificate.Problem {
			last.Text = last.Name + ": " + last.Text
			break
		}
	}
	return append(preflight.Cloud(b.Settings), last)
}

// plainContent is the content of a message; empty for one that is not sent.
type plainContent string

// Size implements envelope.Content.
func (p plainContent) Size() int64 { return int64(len(p)) }

// Open implements envelope.Content.
func (p plainContent) Open() io.Reader { return strings.NewReader(string(p)) }
