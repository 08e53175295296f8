package diagnose

import (
	"context"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"

	"sealpost/hal/fault"
	"sealpost/provisioning/preflight"
	"sealpost/provisioning/settings"
	"sealpost/relay/upstream/reach"
)

// Probe tests how far each delivery method works from this network: with the mail host
// of a domain, or with h if that has a name.
func Probe(ctx context.Context, domain string, h reach.Host) (preflight.ProbeResult, error) {
	if h.Name == "" {
		records, err := h.Resolver.LookupMX(ctx, domain)
		if err != nil {
			return preflight.ProbeResult{}, unknownDomain("no mail host of %s is known here: check the spelling of the domain, and that the name servers work: %w", domain, err)
		}
		if h.Name = mailHost(records); h.Name == "" {
			return preflight.ProbeResult{}, unknownDomain("%s accepts no mail, its MX names no host: check the spelling of the domain, or name the tenant's own host", domain)
		}
	}
	h.Hello = helloName()
	clouds := settings.CloudsOf(h.Name)
	probed := preflight.ProbeResult{Host: h.Name, Port: h.Port, ByMX: len(clouds) > 0}
	submission := h
	submission.Name, submission.Port = string(settings.Default().Upstream.Submission.Host), 587
	if len(clouds) > 0 {
		submission.Name = string(clouds[0].Services().Submission)
	}
	seen := make(chan reach.Result, 1)
	go func() { seen <- reach.Probe(ctx, submission) }()
	describe(&probed, reach.Probe(ctx, h), h.Port)
	other := <-seen
	probed.Port587 = preflight.Reach{OK: other.Greeted, Text: text(other.Greeted, fmt.Sprintf("%s answers", submission.Name), other.Err)}
	probed.Advice = probed.Advise()
	return probed, nil
}

// unknownDomain is the error of a domain that has no mail host.
func unknownDomain(format string, args ...any) error {
	return fault.Mark(fault.DomainUnknown, fmt.Errorf(format, args...))
}

// mailHost returns the most preferred host; empty if there is none, as with a null MX
// (RFC 7505).
func mailHost(records []*net.MX) string {
	if len(records) == 0 {
		return ""
	}
	return strings.ToLower(strings.TrimSuffix(records[0].Host, "."))
}

// helloName is our name before we have one.
func helloName() string {
	name, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	return name
}

// describe describes the result of the probe of the tenant's host.
func describe(w *preflight.ProbeResult, s reach.Result, port int) {
	w.Port25 = preflight.Reach{OK: s.Greeted, Text: text(s.Greeted, fmt.Sprintf("%s answers on port %d", w.Host, port), s.Err)}
	if !s.Greeted {
		w.STARTTLS.Text = "not tried"
		return
	}
	w.STARTTLS = preflight.Reach{OK: s.Verified, Text: text(s.Verified, "its certificate is valid", s.Err)}
	if s.UnknownRoot {
		w.Authority = preflight.Authority(s.Chain)
		// Of a whole chain the last one is the authority's own.
		if last := s.Chain[len(s.Chain)-1]; last.IsCA && slices.Equal(last.RawIssuer, last.RawSubject) {
			w.AuthorityPEM = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: last.Raw}))
		}
	}
}

func text(ok bool, good string, err error) string {
	if ok || err == nil {
		return good
	}
	return err.Error()
}
