package policy

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"sealpost/relay/envelope"
)

// The worlds of the property test are small, so that rules meet often.
var (
	networks = []string{"10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.3/32", "192.168.0.0/16", "fd00::/8", "fd00:1::/64", "203.0.113.0/24"}
	clients  = []string{"10.1.2.3", "10.1.2.4", "10.1.9.9", "10.200.0.1", "192.168.1.1", "fd00:1::7", "fd00:2::7", "203.0.113.5", "8.8.8.8", "::ffff:10.1.2.3", "fe80::1%eth0"}
	macs     = []string{"", "", "00:00:00:00:00:01", "00:00:00:00:00:02"}
	mailbox  = []envelope.Address{"", "a@contoso.com", "b@contoso.com", "A@CONTOSO.COM", "a+t@contoso.com", "a@contoso.de", "a@gmail.com", "a@mfp.local", "a%gmail.com@contoso.com", "x!a@contoso.com", "a@gmail.com@contoso.com"}
	pattern  = []Pattern{"a@contoso.com", "b@contoso.com", "@contoso.com", "@contoso.de", "@gmail.com", "a@gmail.com"}
)

func some[T any](random *rand.Rand, all []T, most int) []T {
	var chosen []T
	for range random.IntN(most + 1) {
		chosen = append(chosen, all[random.IntN(len(all))])
	}
	return chosen
}

func one[T any](random *rand.Rand, all []T) T { return all[random.IntN(len(all))] }

func randomNetworks(random *rand.Rand, most int) (result []netip.Prefix) {
	for _, network := range some(random, networks, most) {
		result = append(result, netip.MustParsePrefix(network))
	}
	return result
}

func randomPolicy(random *rand.Rand) *Policy {
	treatments := []Treatment{"", Replace, Keep, Refuse}
	p := &Policy{
		Networks: randomNetworks(random, 2), Learning: randomNetworks(random, 1), Logins: randomNetworks(random, 1),
		RequireTLS: randomNetworks(random, 1), LegacyTLS: randomNetworks(random, 1), RequireAuth: randomNetworks(random, 1),
		AcceptedDomains: []string{"contoso.com", "contoso.de"}, DefaultSender: one(random, []envelope.Address{"", "b@contoso.com"}),
		Foreign: one(random, treatments), Empty: one(random, treatments), NullSender: random.IntN(2) == 0, Author: one(random, treatments[1:]),
		Recipients: some(random, append([]Pattern{Own}, pattern...), 2),
	}
	for range random.IntN(3) {
		p.Rewrites = append(p.Rewrites, Rewrite{one(random, []Pattern{"@mfp.local", "a@mfp.local", "a@gmail.com"}), one(random, mailbox[1:3])})
	}
	for range random.IntN(4) {
		d := Device{MAC: one(random, macs), Refuse: random.IntN(5) == 0, RequireTLS: random.IntN(5) == 0, Auth: one(random, []Auth{"", "", AnyLogin, LoginRequired}),
			Sender: one(random, []envelope.Address{"", "a@contoso.com"}), Senders: some(random, pattern[:4], 2), Recipients: some(random, append([]Pattern{Own}, pattern...), 2),
			Tag: one(random, []string{"", "t"})}
		if d.MAC == "" {
			d.Clients = netip.MustParsePrefix(one(random, networks))
		}
		p.Devices = append(p.Devices, d)
	}
	return p
}

func randomRequest(random *rand.Rand) Request {
	r := Request{Client: Client{Address: netip.MustParseAddr(one(random, clients)), MAC: one(random, macs), Secure: random.IntN(2) == 0},
		Sender: one(random, mailbox), Recipients: some(random, mailbox[1:], 3), Authors: some(random, mailbox[1:], 2)}
	if random.IntN(3) == 0 {
		r.Client.User = &User{Name: "u", Clients: randomNetworks(random, 1), Senders: some(random, pattern[:4], 2), Recipients: some(random, append([]Pattern{Own}, pattern...), 2)}
	}
	return r
}

// mayBe says in other words than the package which address a client may show as its own.
func mayBe(p *Policy, c Client, a envelope.Address, d Device) bool {
	in := func(list []Pattern) bool {
		return len(list) == 0 || slices.ContainsFunc(list, func(l Pattern) bool {
			return strings.EqualFold(string(l), string(a)) || strings.HasPrefix(string(l), "@") && strings.HasSuffix(strings.ToLower(string(a)), string(l))
		})
	}
	return in(d.Senders) && (c.User == nil || in(c.User.Senders))
}

// TestDecide_NeverRelaysForAStrangerOrUnderAForeignName checks what must hold for any
// policy and any message.
func TestDecide_NeverRelaysForAStrangerOrUnderAForeignName(t *testing.T) {
	const cases = 200_000
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	sent := 0
	for range cases {
		p, r := randomPolicy(random), randomRequest(random)
		d := p.Decide(r)
		if !d.Sent {
			if d.Refusal.Code/100 != 5 && len(r.Recipients) > 0 {
				t.Fatalf("not sent without a refusal: %+v\n%+v\n%+v", p, r, d)
			}
			continue
		}
		sent++
		if fault := faultOf(p, r, d); fault != "" {
			t.Fatalf("%s\npolicy %+v\nrequest %+v\ndecision %+v", fault, p, r, d)
		}
	}
	if sent < cases/50 {
		t.Errorf("only %d of %d cases were sent: the worlds are too narrow", sent, cases)
	}
}

// faultOf returns what is wrong with a message that is sent, or "".
func faultOf(p *Policy, r Request, d Decision) string {
	address := r.Client.Address.Unmap().WithZone("")
	device, _, listed := p.device(address, r.Client.MAC)
	inside := func(list []netip.Prefix) bool {
		return slices.ContainsFunc(list, func(n netip.Prefix) bool { return n.Contains(address) })
	}
	known := listed || inside(p.Networks) || inside(p.Learning)
	if device.Auth == AnyLogin {
		r.Client.User = nil // whatever it logs in as
	}
	switch {
	case device.Refuse:
		return "a refused device sends"
	case !known && !(inside(p.Logins) && r.Client.User != nil):
		return "a stranger sends"
	case (device.RequireTLS || inside(p.RequireTLS)) && !r.Client.Secure:
		return "it sends in clear text"
	case device.Auth == LoginRequired && r.Client.User == nil:
		return "it sends without a login"
	case r.Client.User != nil && len(r.Client.User.Clients) > 0 && !inside(r.Client.User.Clients):
		return "it sends as a user of other addresses"
	}
	untaggedSender := d.Sender
	if device.Tag != "" {
		untaggedSender = envelope.Address(strings.Replace(string(d.Sender), "+t@", "@", 1))
	}
	foreign := !slices.Contains(p.AcceptedDomains, d.Sender.Domain())
	switch {
	case d.Sender != "" && !mayBe(p, r.Client, d.Sender, device) && !mayBe(p, r.Client, untaggedSender, device):
		return "it sends as somebody it may not"
	case d.Sender == "" && !p.NullSender:
		return "it sends without a sender"
	case d.Sender != "" && foreign && p.Foreign != Keep && p.Foreign != Replace && p.Foreign != "":
		return "it sends under a foreign domain"
	case d.Sender != "" && foreign && p.Foreign != Keep && (p.DefaultSender != "" || device.Sender != ""):
		return "a foreign sender was not replaced"
	}
	shown := r.Authors
	if d.Author != "" {
		shown = []envelope.Address{d.Author}
	}
	for _, author := range shown {
		same := strings.EqualFold(string(author), string(d.Sender)) || author == untaggedSender
		if !same && !mayBe(p, r.Client, author, device) {
			return "it shows somebody it may not be"
		}
		if !same && p.Author == Refuse && !slices.Contains(p.AcceptedDomains, author.Domain()) {
			return "it shows a foreign author"
		}
	}
	for _, recipient := range d.Recipients {
		for _, list := range [][]Pattern{device.Recipients, userRecipients(r.Client)} {
			if len(list) > 0 && !listedRecipient(p, list, recipient) {
				return "it sends to somebody it may not"
			}
		}
		if len(device.Recipients) == 0 && len(p.Recipients) > 0 && !listedRecipient(p, p.Recipients, recipient) {
			return "it sends to somebody that nobody may send to"
		}
	}
	return ""
}

func userRecipients(c Client) []Pattern {
	if c.User == nil {
		return nil
	}
	return c.User.Recipients
}

func listedRecipient(p *Policy, list []Pattern, a envelope.Address) bool {
	local, domain, found := strings.Cut(string(a), "@")
	if !found || strings.ContainsAny(local, "%!:") || strings.Contains(domain, "@") {
		return false
	}
	domain = strings.ToLower(domain)
	return slices.ContainsFunc(list, func(l Pattern) bool {
		return l == Own && slices.Contains(p.AcceptedDomains, domain) || string(l) == "@"+domain || strings.EqualFold(string(l), string(a))
	})
}

func FuzzDecide(f *testing.F) {
	f.Add(uint64(1), "a@contoso.com", "b@gmail.com", "10.1.2.3")
	f.Add(uint64(2), "", "a%b@contoso.com", "::ffff:10.1.2.3")
	f.Fuzz(func(t *testing.T, seed uint64, sender, recipient, address string) {
		random := rand.New(rand.NewPCG(seed, 0))
		p, r := randomPolicy(random), randomRequest(random)
		if parsed, err := netip.ParseAddr(address); err == nil {
			r.Client.Address = parsed
		}
		var err error
		if sender != "" {
			if r.Sender, err = envelope.ParseAddress(sender); err != nil {
				return
			}
			r.Authors = append(r.Authors, r.Sender)
		}
		to, err := envelope.ParseAddress(recipient)
		if err != nil {
			return
		}
		r.Recipients = append(r.Recipients, to)
		if d := p.Decide(r); d.Sent {
			if fault := faultOf(p, r, d); fault != "" {
				t.Fatalf("%s\npolicy %+v\nrequest %+v\ndecision %+v", fault, p, r, d)
			}
		}
	})
}
