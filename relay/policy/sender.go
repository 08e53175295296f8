package policy

import (
	"fmt"
	"slices"
	"strings"

	"sealpost/relay/envelope"
)

// Sender decides under which sender a message is sent (RFC 5321 section 3.3).
func (p *Policy) Sender(c Client, sender envelope.Address) (envelope.Address, Verdict) {
	a := p.Access(c)
	if v := p.maySend(c, a); v.Refused() {
		return "", v
	}
	s := &senderRules{policy: p, client: c, access: a}
	var rules []string
	for _, rule := range []func(envelope.Address) (envelope.Address, Verdict){s.rewrite, s.nullSender, s.foreign, s.restricted} {
		var applied Verdict
		if sender, applied = rule(sender); applied.Refused() {
			return "", applied
		}
		if applied.Rule != "" {
			rules = append(rules, applied.Rule)
		}
	}
	if tag := a.Device.Tag; tag != "" && sender != "" && !strings.Contains(localPart(sender), "+") {
		sender, rules = withTag(sender, tag), append(rules, a.setting("tag"))
	}
	return sender, Verdict{Rule: strings.Join(rules, ", ")}
}

// maySend decides whether the client may send at all, now.
func (p *Policy) maySend(c Client, a Access) Verdict {
	switch {
	case !a.Allowed && !a.Login:
		_, v := p.Connect(c)
		return v
	case a.RequireTLS && !c.Secure:
		return refuse(a.ruleFor("tls", "lan.require_tls", a.Device.RequireTLS), 530, 7, 0, "TLS is required: turn on TLS or STARTTLS on the device")
	case a.RequireAuth && c.User == nil:
		return refuse(a.ruleFor("auth", "lan.require_auth", a.Device.Auth == LoginRequired), 530, 7, 0, "authentication is required: set a user name and a password on the device")
	}
	return Verdict{}
}

// ruleFor names the setting of the device, or else the one for its network.
func (a Access) ruleFor(key, network string, ofDevice bool) string {
	switch {
	case ofDevice:
		return a.setting(key)
	case a.Login:
		return a.Rule
	}
	return network
}

// senderRules choose the sender of one message.
type senderRules struct {
	policy *Policy
	client Client
	access Access
}

// rewrite applies the first of the rewrites, the addresses before the domains.
func (s *senderRules) rewrite(sender envelope.Address) (envelope.Address, Verdict) {
	var found *Rewrite
	for i, r := range s.policy.Rewrites {
		if r.From.Matches(sender) && (found == nil || found.From.isDomain() && !r.From.isDomain()) {
			found = &s.policy.Rewrites[i]
		}
	}
	if found == nil {
		return sender, Verdict{}
	}
	return found.To, Verdict{Rule: "senders.map"}
}

func (s *senderRules) nullSender(sender envelope.Address) (envelope.Address, Verdict) {
	if sender != "" {
		return sender, Verdict{}
	}
	treatment := s.policy.Empty
	if treatment == "" {
		treatment = s.policy.Foreign
	}
	switch s.treatment(treatment) {
	case Replace:
		return s.replacement(), Verdict{Rule: s.replacementRule()}
	case Refuse:
		return "", refuse("senders.empty", 553, 7, 1, "mail without a sender is refused: set a sender on the device")
	}
	if !s.policy.NullSender {
		return "", refuse("senders.empty", 553, 7, 1, "mail without a sender is not relayed by the tenant: set a sender on the device, or senders.default")
	}
	return "", Verdict{Rule: "senders.empty"}
}

func (s *senderRules) foreign(sender envelope.Address) (envelope.Address, Verdict) {
	if sender == "" || s.policy.accepts(sender) {
		return sender, Verdict{}
	}
	switch s.treatment(s.policy.Foreign) {
	case Replace:
		return s.replacement(), Verdict{Rule: s.replacementRule()}
	case Refuse:
		return "", refuse("senders.foreign", 553, 7, 1, "the sender %s is in no accepted domain: set the device's own address", sender.Path())
	}
	return sender, Verdict{Rule: "senders.foreign"}
}

// restricted limits the sender to those of the device and of the user.
func (s *senderRules) restricted(sender envelope.Address) (envelope.Address, Verdict) {
	rule, restricted := s.restriction()
	if !restricted || sender == "" || s.mayUse(sender) {
		return sender, Verdict{}
	}
	if candidates := s.candidates(); len(candidates) > 0 {
		return candidates[0], Verdict{Rule: rule}
	}
	return "", refuse(rule, 553, 7, 1, "%s may not send as %s (%s)", s.client.Address.Unmap(), sender.Path(), rule)
}

// candidates are the senders that may replace one of another client, the best first.
func (s *senderRules) candidates() []envelope.Address {
	candidates := []envelope.Address{s.access.Device.Sender}
	lists := [][]Pattern{s.access.Device.Senders}
	if s.client.User != nil {
		lists = append([][]Pattern{s.client.User.Senders}, lists...)
	}
	for _, list := range lists {
		for _, pattern := range list {
			if !pattern.isDomain() {
				candidates = append(candidates, envelope.Address(pattern))
			}
		}
	}
	candidates = append(candidates, s.policy.DefaultSender)
	return slices.DeleteFunc(candidates, func(a envelope.Address) bool { return a == "" || !s.mayUse(a) || !s.policy.accepts(a) })
}

// restriction names the setting that restricts the client's senders.
func (s *senderRules) restriction() (rule string, restricted bool) {
	switch {
	case s.client.User != nil && len(s.client.User.Senders) > 0:
		return "the senders of user " + s.client.User.Name, true
	case len(s.access.Device.Senders) > 0:
		return s.access.setting("senders"), true
	}
	return "", false
}

// mayUse reports whether the device and the user may use a sender.
func (s *senderRules) mayUse(sender envelope.Address) bool {
	return (len(s.access.Device.Senders) == 0 || matchesAny(s.access.Device.Senders, sender)) &&
		(s.client.User == nil || len(s.client.User.Senders) == 0 || matchesAny(s.client.User.Senders, sender))
}

// treatment returns the treatment that a setting means.
func (s *senderRules) treatment(setting Treatment) Treatment {
	switch {
	case setting == "" && s.replacement() != "":
		return Replace
	case setting == "" || setting == Replace && s.replacement() == "":
		return Keep
	}
	return setting
}

// replacement is the sender that replaces one that cannot be used.
func (s *senderRules) replacement() envelope.Address {
	if s.access.Device.Sender != "" {
		return s.access.Device.Sender
	}
	return s.policy.DefaultSender
}

func (s *senderRules) replacementRule() string {
	if s.access.Device.Sender != "" {
		return s.access.setting("sender")
	}
	return "senders.default"
}

// maps reports whether the rewrites make an author the sender. Such an author is what the
// device calls itself, and not somebody else.
func (s *senderRules) maps(author, sender envelope.Address) bool {
	rewritten, v := s.rewrite(author)
	return v.Rule != "" && rewritten == untagged(sender, s.access.Device.Tag)
}

// From decides on the authors of a message (RFC 5322 section 3.6.2), which its
// recipients see. It returns the author to use instead, or "" to keep them. sender is
// the result of Sender.
func (p *Policy) From(c Client, sender envelope.Address, authors []envelope.Address) (envelope.Address, Verdict) {
	s := senderRules{policy: p, client: c, access: p.Access(c)}
	rule, restricted := s.restriction()
	first := func(isForeign func(envelope.Address) bool) int {
		return slices.IndexFunc(authors, func(author envelope.Address) bool {
			own := strings.EqualFold(string(author), string(sender)) || author == untagged(sender, s.access.Device.Tag)
			return !own && isForeign(author)
		})
	}
	// The restriction comes first: senders.from does not lift it.
	foreign := first(func(author envelope.Address) bool { return restricted && !s.mayUse(author) })
	if foreign < 0 {
		rule, foreign = "senders.from", first(func(author envelope.Address) bool { return !p.accepts(author) })
	}
	if foreign < 0 {
		return "", Verdict{}
	}
	instead := sender
	if candidates := s.candidates(); instead == "" && len(candidates) > 0 {
		instead = candidates[0]
	}
	switch {
	case p.Author == Keep && rule == "senders.from", p.Author != Refuse && instead == "" && !restricted:
		return "", Verdict{Rule: "senders.from"}
	case p.Author == Refuse && !s.maps(authors[foreign], sender), instead == "":
		return "", refuse(rule, 550, 7, 1, "the author %s in From is not one that this device may send as: set the device's own address", authors[foreign].Path())
	}
	return untagged(instead, s.access.Device.Tag), Verdict{Rule: rule}
}

func localPart(a envelope.Address) string {
	return string(a[:max(0, strings.LastIndexByte(string(a), '@'))])
}

// withTag adds the detail of a subaddress (RFC 5233). A local part that would become too
// long stays as it is.
func withTag(a envelope.Address, tag string) envelope.Address {
	const longest = 64 // RFC 5321 section 4.5.3.1.1
	local := localPart(a)
	if len(local)+len("+")+len(tag) > longest {
		return a
	}
	return envelope.Address(fmt.Sprintf("%s+%s%s", local, tag, a[len(local):]))
}

// untagged removes what withTag added.
func untagged(a envelope.Address, tag string) envelope.Address {
	local := localPart(a)
	if before, found := strings.CutSuffix(local, "+"+tag); found && tag != "" {
		return envelope.Address(before + string(a[len(local):]))
	}
	return a
}
