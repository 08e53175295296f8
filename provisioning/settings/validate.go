package settings

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
)

// Validate checks that the values are in range and fit together. Its error is of
// type [Errors], without line numbers.
func (s Settings) Validate() error {
	return s.check().result()
}

func (s Settings) check() Errors {
	var errs Errors
	fault := func(key, format string, args ...any) {
		errs = append(errs, Error{Key: key, Message: key + " " + fmt.Sprintf(format, args...)})
	}
	s.checkRanges(fault)
	s.checkLimits(fault)
	s.checkListeners(fault)
	s.checkNetwork(fault)
	s.checkAllow(fault)
	s.checkDevices(fault)
	if _, err := netip.ParseAddr(string(s.LAN.Hostname)); err == nil {
		fault("lan.hostname", "is an address: write a name like \"relay.contoso.com\"")
	}
	if len(s.Upstream.Method) == 0 {
		fault("upstream.method", "is an empty list: write \"connector\", \"submission\" or \"direct\", or several in the order of preference")
	}
	for i, m := range s.Upstream.Method {
		if slices.Contains(s.Upstream.Method[:i], m) {
			fault("upstream.method", "names %q twice: leave out one of them", m)
		}
	}
	if traits := s.Upstream.Method.Traits(); (traits.ClientCertificate || traits.RecipientMX) && len(s.Senders.AcceptedDomains) == 0 {
		whose := "the tenant's accepted domains"
		if !traits.ClientCertificate && !traits.Mailbox {
			whose = "the domains of your senders"
		}
		fault("senders.accepted_domains", "is empty: list %s, like [\"contoso.com\"]", whose)
	}
	if d := s.Senders.Default.Domain(); d != "" && len(s.Senders.AcceptedDomains) > 0 &&
		!slices.Contains(s.Senders.AcceptedDomains, d) {
		fault("senders.default", "is in %s, which is not among senders.accepted_domains: add the domain there or use another sender", d)
	}
	s.checkSubmission(fault)
	s.checkDirect(fault)
	s.checkRecipientMethods(fault)
	s.checkDKIM(fault)
	for _, c := range []struct {
		section string
		Roots
	}{
		{"upstream.connector", s.Upstream.Connector.Roots},
		{"upstream.submission", s.Upstream.Submission.Roots},
		{"upstream.oauth", s.Upstream.OAuth.Roots},
		{"upstream.direct", s.Upstream.Direct.Roots},
	} {
		if c.CA != "" && c.CAFile != "" {
			fault(c.section+".ca", "and %s.ca_file are both set: remove one of them", c.section)
		}
	}
	if s.Control.Socket != "" && filepath.Clean(s.Control.Socket) == filepath.Clean(s.State.Path) {
		fault("control.socket", "is the same as state.path: name another file")
	}
	return errs
}

// checkAllow rejects public networks that are larger than a site.
func (s Settings) checkAllow(fault func(key, format string, args ...any)) {
	for _, network := range s.LAN.Allow {
		if IsPublicNetwork(network) {
			fault("lan.allow", "lists %s, a large part of the internet: list the networks of your devices", network)
		}
	}
}

func (s Settings) checkRanges(fault func(key, format string, args ...any)) {
	for _, c := range []struct {
		key   string
		value int64
	}{
		{"limits.message_size", int64(s.Limits.MessageSize)},
		{"limits.recipients", int64(s.Limits.Recipients)},
		{"limits.line", int64(s.Limits.Line)},
		{"limits.connections", int64(s.Limits.Connections)},
		{"limits.connections_per_client", int64(s.Limits.ConnectionsPerClient)},
		{"limits.memory", int64(s.Limits.Memory)},
		{"limits.session", int64(s.Limits.Session.Duration)},
		{"limits.idle", int64(s.Limits.Idle.Duration)},
		{"limits.transactions", int64(s.Limits.Transactions)},
		{"upstream.hold", int64(s.Upstream.Hold.Duration)},
		{"upstream.connections", int64(s.Upstream.Connections)},
		{"upstream.timeout", int64(s.Upstream.Timeout.Duration)},
		{"retry.first", int64(s.Retry.First.Duration)},
		{"retry.longest", int64(s.Retry.Longest.Duration)},
		{"retry.age", int64(s.Retry.Age.Duration)},
		{"retry.warning", int64(s.Retry.Warning.Duration)},
	} {
		if c.value <= 0 {
			fault(c.key, "must be more than zero: leave it out for the default")
		}
	}
	if p := s.Upstream.Connector.Port; p < 1 || p > 65535 {
		fault("upstream.connector.port", "is %d: write a port from 1 to 65535, usually 25", p)
	}
	if s.Spool.Size < MinSpoolSize {
		fault("spool.size", "is %s: write at least %s", s.Spool.Size, MinSpoolSize)
	}
}

// minMessageSize is the smallest limit of a message (RFC 5321 section 4.5.3.1.7).
const minMessageSize Size = 64 << 10

// checkLimits compares limits with each other and with the minimums of SMTP.
func (s Settings) checkLimits(fault func(key, format string, args ...any)) {
	const shortest, longest = 998, 1 << 20 // RFC 5321 section 4.5.3.1.6 allows lines of 998
	if line := s.Limits.Line; line > 0 && (line < shortest || line > longest) {
		fault("limits.line", "is %s: write a size from %dB to %s", line, shortest, Size(longest))
	}
	if size := s.Limits.MessageSize; size > 0 && size < minMessageSize {
		fault("limits.message_size", "is %s: write at least %s, the smallest limit that SMTP allows (RFC 5321)", size, minMessageSize)
	}
	if largest := s.Spool.Size / 2; s.Limits.MessageSize > max(s.Limits.Memory, largest) {
		fault("limits.message_size", "is %s, limits.memory is %s and half of spool.size %s, so the largest messages could never be accepted: lower limits.message_size or raise one of the others", s.Limits.MessageSize, s.Limits.Memory, largest)
	}
	if s.Retry.Longest.Duration < s.Retry.First.Duration {
		fault("retry.longest", "is shorter than retry.first: raise it")
	}
	if share := s.Spool.ClientShare; share < 1 || share > 100 {
		fault("spool.client_share", "is %d: write a percentage from 1 to 100", share)
	}
	if s.Limits.MessagesPerMinute < 0 {
		fault("limits.messages_per_minute", "is %d: write 0 for no limit", s.Limits.MessagesPerMinute)
	}
	if s.Upstream.MessagesPerMinute < 0 {
		fault("upstream.messages_per_minute", "is %d: write 0 for no fixed limit", s.Upstream.MessagesPerMinute)
	}
	if s.Upstream.RecipientsPerDay < 0 {
		fault("upstream.recipients_per_day", "is %d: write 0 for no fixed limit", s.Upstream.RecipientsPerDay)
	}
	const maxRecipients = 16000 // the outcomes of all recipients must fit into one spool record
	if s.Limits.Recipients > maxRecipients {
		fault("limits.recipients", "is %d: write at most %d", s.Limits.Recipients, maxRecipients)
	}
}

func (s Settings) checkListeners(fault func(key, format string, args ...any)) {
	if len(s.LAN.SMTP)+len(s.LAN.SMTPS) == 0 {
		fault("lan.smtp", "and lan.smtps are both empty, so no device could send: list at least one address, like \":25\"")
	}
	seen := map[Listen]bool{}
	for _, group := range []struct {
		key       string
		addresses []Listen
	}{{"lan.smtp", s.LAN.SMTP}, {"lan.smtps", s.LAN.SMTPS}} {
		for _, address := range group.addresses {
			if seen[address] {
				fault(group.key, "lists %q a second time: name each address once in lan.smtp and lan.smtps", address)
			}
			seen[address] = true
		}
	}
}

// checkNetwork rejects settings that would leave a box without a network.
func (s Settings) checkNetwork(fault func(key, format string, args ...any)) {
	n := s.Network
	if strings.Contains(string(n.Name), ".") {
		fault("network.name", "contains a dot: write one label, like \"sealpost\"")
	}
	if !n.Address.IsValid() {
		if n.Gateway.IsValid() {
			fault("network.gateway", "is set without network.address, and with DHCP the DHCP server provides it: leave it out, or set both")
		}
		return
	}
	if n.Gateway.IsValid() && (!n.Address.Contains(n.Gateway) || n.Gateway == n.Address.Addr()) {
		fault("network.gateway", "is %s, which is not another machine in %s: write the router's address there", n.Gateway, n.Address.Masked())
	}
	if len(n.DNS) == 0 {
		fault("network.dns", "is empty: with a static address the box needs at least one name server")
	}
}
