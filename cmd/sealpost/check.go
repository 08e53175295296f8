package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sealpost/hal/linux/clock"
	"sealpost/provisioning/certificate"
	"sealpost/provisioning/identity"
	"sealpost/provisioning/preflight"
	"sealpost/provisioning/settings"
	"sealpost/provisioning/tenant"
	"sealpost/relay/control"
	"sealpost/relay/dispatch"
	"sealpost/relay/envelope"
	"sealpost/relay/journal"
	"sealpost/relay/upstream"
	"sealpost/relay/upstream/dns"
)

func checkCommand(o *options) *cobra.Command {
	return leaf("check", "Say what would keep mail from arriving, before any is sent", 0, func(c *cobra.Command, _ []string) error {
		return o.withBox(c, anyState, func(ctx context.Context, b *box) error {
			problems := 0
			for finding := range preflight.Run(c.Context(), b.checks(c.Context())) {
				if finding.Level == certificate.Problem {
					problems++
				}
				if err := o.printLine(c.OutOrStdout(), finding); err != nil {
					return err
				}
			}
			if problems > 0 {
				return fmt.Errorf("%d of these stand in the way of mail", problems)
			}
			return nil
		})
	})
}

// printLine prints one of several values, as JSON one a line.
func (o *options) printLine(w io.Writer, value fmt.Stringer) error {
	if o.json {
		return json.NewEncoder(w).Encode(value)
	}
	_, err := fmt.Fprintln(w, value)
	return err
}

// checks are made in the order in which a message would meet what they look at.
func (b *box) checks(ctx context.Context) []preflight.Check {
	checks := []preflight.Check{
		{Name: "network", Look: lookAtNetwork},
		{Name: "clock", Look: lookAtClock},
		{Name: "TPM", Look: func(ctx context.Context) []preflight.Finding { return preflight.TPM(b.tpm.State(ctx)) }},
		{Name: "certificate", Look: b.lookAtCertificate},
		{Name: "relay", Look: b.lookAtRelay},
		{Name: "spool", Look: b.lookAtSpool},
		{Name: "domains", Look: b.lookAtDomains},
		{Name: "upstream", Look: b.lookAtUpstream},
	}
	if b.settings.Upstream.Method == settings.MethodSubmission {
		// Neither the connector's certificate nor an MX has a part in it.
		checks = slices.DeleteFunc(checks, func(c preflight.Check) bool { return c.Name == "certificate" || c.Name == "domains" })
		checks[len(checks)-1].Look = b.lookAtMailbox
	}
	if b.settings.Keys.Protection == settings.ProtectionFile {
		checks = slices.DeleteFunc(checks, func(c preflight.Check) bool { return c.Name == "TPM" })
	}
	const patience = 10 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if _, err := askMachine(ctx); err != nil && ctx.Err() == nil {
		return checks[1:] // the network is not ours to judge
	}
	return checks
}

// askMachine asks the first process of an appliance how the machine is.
func askMachine(ctx context.Context) (machineStatus, error) {
	return ask[machineStatus](ctx, initSocket, "status")
}

// ask has whoever answers on the socket carry out a call that gives one value.
func ask[T any](ctx context.Context, socket, call string) (value T, err error) {
	answer, err := control.Do(ctx, socket, call, url.Values{})
	if err != nil {
		return value, err
	}
	defer answer.Close()
	// The first process asks too, and a relay that was taken over must not take
	// its memory.
	err = json.NewDecoder(io.LimitReader(answer, largestAnswer)).Decode(&value)
	return value, err
}

func lookAtNetwork(ctx context.Context) []preflight.Finding {
	s, err := askMachine(ctx)
	if err != nil {
		return preflight.Problem(err)
	}
	return preflight.Network(s.Network.Method, s.Network.Addresses, s.Network.Trouble)
}

func lookAtClock(ctx context.Context) []preflight.Finding {
	s, err := askMachine(ctx)
	if err != nil {
		// On a machine of its own the clock is the system's business.
		return preflight.Clock(true, "")
	}
	return preflight.Clock(clock.Trusted(), s.Clock.Doubt)
}

func (b *box) lookAtCertificate(ctx context.Context) []preflight.Finding {
	client, err := identity.Load(ctx, b.store)
	if errors.Is(err, identity.ErrNone) {
		return preflight.NoCertificate()
	}
	if err != nil {
		return preflight.Problem(err)
	}
	return preflight.Certificate(examine(b, client))
}

// startPatience is how long a relay that was just started may take.
const startPatience = 20 * time.Second

// askSoon asks the relay, again for a while where it may only just have been
// started.
func askSoon[T any](ctx context.Context, b *box, call string) (T, error) {
	const pause = 200 * time.Millisecond
	deadline := time.Now().Add(startPatience)
	if _, err := askMachine(ctx); err != nil {
		deadline = time.Time{} // nobody starts one by itself here
	}
	for {
		value, err := ask[T](ctx, b.settings.ControlSocket(), call)
		if err == nil || ctx.Err() != nil || time.Now().After(deadline) {
			return value, err
		}
		time.Sleep(pause)
	}
}

func (b *box) lookAtRelay(ctx context.Context) []preflight.Finding {
	status, err := askSoon[dispatch.Status](ctx, b, "queue/list")
	if err != nil {
		return preflight.Problem(err)
	}
	found := preflight.Held(status.Reason)
	for _, own := range status.Accounts {
		found = append(found, preflight.Held(own.Account+": "+own.Reason)...)
	}
	return found
}

func (b *box) lookAtSpool(ctx context.Context) []preflight.Finding {
	found, err := askSoon[stat](ctx, b, "spool/stat")
	if err != nil {
		return preflight.Problem(err)
	}
	return preflight.Spool(found.Messages, found.Room, found.Size)
}

func (b *box) lookAtDomains(ctx context.Context) []preflight.Finding {
	var findings []preflight.Finding
	resolver := dns.Resolver(b.settings.Upstream.DNS)
	for _, domain := range b.settings.AcceptedDomains() {
		records, err := resolver.LookupMX(ctx, string(domain))
		var hosts []string
		for _, mx := range records {
			hosts = append(hosts, strings.TrimSuffix(mx.Host, "."))
		}
		findings = append(findings, preflight.MX(string(domain), hosts, err)...)
	}
	for i, f := range findings {
		// A fixed host does without the MX.
		if f.Level == certificate.Problem && b.settings.Upstream.Connector.Host != "" {
			findings[i].Level = certificate.Note
		}
	}
	return findings
}

// lookAtUpstream goes as far as a message would, up to its content.
func (b *box) lookAtUpstream(ctx context.Context) []preflight.Finding {
	name, err := hostname(b.settings.LAN)
	if err != nil {
		return preflight.Problem(err)
	}
	r := &relay{box: b, hostname: name, journal: journal.Discard()}
	way, err := r.connector(ctx)
	if err != nil {
		return preflight.Problem(err)
	}
	defer way.Close()
	n := r.notifying()
	e := envelope.Envelope{ID: "check", Sender: n.Sender, Recipients: []envelope.Address{n.Sender}}
	if n.Alert != "" {
		e.Recipients[0] = n.Alert
	}
	result, err := way.Deliver(ctx, e, plainContent(""), noContent)
	if fault := (*upstream.Unavailable)(nil); errors.As(err, &fault) {
		err = errors.New(fault.Reason)
	}
	var refused string
	if err == nil && !result.Answers[0].Positive() {
		refused = result.Answers[0].String()
	}
	return preflight.Upstream(result.Connection.Certificate(), refused, err)
}

// lookAtMailbox walks the way to the mailbox, and gives the step at which it
// ends.
func (b *box) lookAtMailbox(ctx context.Context) []preflight.Finding {
	w := &walk{box: b, site: tenant.Site{Settings: b.settings}}
	var last preflight.Finding
	for last = range preflight.Run(ctx, w.steps()) {
		if last.Level == certificate.Problem {
			return preflight.Problem(fmt.Errorf("%s: %s", last.Name, last.Words))
		}
	}
	return passed("%s", last.Words)
}

// plainContent is the content of a message; empty for one that is not sent.
type plainContent string

// Size implements envelope.Content.
func (p plainContent) Size() int64 { return int64(len(p)) }

// Open implements envelope.Content.
func (p plainContent) Open() io.Reader { return strings.NewReader(string(p)) }
