package policy

import (
	"net/netip"
	"strings"
	"testing"

	"sealpost/relay/envelope"
)

// site is a policy with a rule of each kind.
func site() *Policy {
	prefix := netip.MustParsePrefix
	return &Policy{
		Hostname:        "the relay",
		Networks:        []netip.Prefix{prefix("192.168.10.0/24"), prefix("fd00:1::/64"), prefix("fe80::/10")},
		Logins:          []netip.Prefix{prefix("10.9.0.0/16")},
		RequireTLS:      []netip.Prefix{prefix("192.168.10.128/26")},
		RequireAuth:     []netip.Prefix{prefix("192.168.10.192/26")},
		AcceptedDomains: []string{"contoso.com", "contoso.de"},
		DefaultSender:   "printer@contoso.com",
		Author:          Replace,
		Rewrites:        []Rewrite{{"@mfp.local", "scans@contoso.com"}, {"boss@mfp.local", "boss@contoso.com"}},
		Devices: []Device{
			{Clients: prefix("192.168.10.20/32"), Senders: []Pattern{"canon@contoso.com"}, Recipients: []Pattern{Own, "boss@fabrikam.com"}},
			{Clients: prefix("192.168.10.16/28"), Sender: "floor2@contoso.com", Tag: "lobby"},
			{Clients: prefix("172.16.0.5/32")},
			{Clients: prefix("192.168.10.30/32"), Refuse: true},
			{MAC: "00:1e:8f:12:34:56", Sender: "mac@contoso.com", LegacyTLS: true, Auth: AnyLogin},
		},
	}
}

func TestAccess_AllowsOnlyNetworksAndDevices(t *testing.T) {
	p := site()
	for client, want := range map[string]bool{
		"192.168.10.7":        true,
		"::ffff:192.168.10.7": true,
		"fd00:1::5":           true,
		"fe80::5%eth0":        true,
		"172.16.0.5":          true,
		"172.16.0.6":          false,
		"192.168.10.30":       false,
		"192.168.11.7":        false,
		"fd00:2::5":           false,
		"127.0.0.1":           false,
		"10.9.1.1":            false,
	} {
		if got := p.Access(Client{Address: netip.MustParseAddr(client)}); got.Allowed != want {
			t.Errorf("%s: got %+v, want allowed %v", client, got, want)
		}
	}
	if got := p.Access(client("10.9.1.1")); !got.Login || !got.RequireAuth {
		t.Errorf("an address of users: got %+v, want a login", got)
	}
	if got := p.Access(Client{Address: netip.MustParseAddr("8.8.8.8"), MAC: "00:1e:8f:12:34:56"}); !got.Allowed || !got.LegacyTLS || got.Rule != "device 00:1e:8f:12:34:56" {
		t.Errorf("a listed MAC: got %+v", got)
	}
	if (&Policy{}).Access(client("127.0.0.1")).Allowed {
		t.Error("policy without networks: got an address allowed, want none")
	}
}

func TestSender_ReplacesForeignSenders(t *testing.T) {
	domains := []string{"contoso.com", "contoso.de"}
	for _, c := range []struct{ defaultSender, sender, want envelope.Address }{
		{"printer@contoso.com", "scanner@contoso.com", "scanner@contoso.com"},
		{"printer@contoso.com", "scanner@Contoso.DE", "scanner@Contoso.DE"},
		{"printer@contoso.com", "root@localhost", "printer@contoso.com"},
		{"printer@contoso.com", "x@sub.contoso.com", "printer@contoso.com"},
		{"printer@contoso.com", "", "printer@contoso.com"},
		{"", "root@localhost", "root@localhost"},
		{"", "", ""},
	} {
		p := &Policy{Networks: anywhere, AcceptedDomains: domains, DefaultSender: c.defaultSender, NullSender: true}
		if got, v := p.Sender(client("192.168.10.7"), c.sender); got != c.want || v.Refused() {
			t.Errorf("%q with default %q: got %q, %v, want %q", c.sender, c.defaultSender, got, v, c.want)
		}
	}
}

var anywhere = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}

func client(address string) Client { return Client{Address: netip.MustParseAddr(address)} }

func TestSender_AppliesTheRules(t *testing.T) {
	bound := &User{Name: "erp", Senders: []Pattern{"erp@contoso.com", "@contoso.de"}}
	for _, c := range []struct {
		name     string
		client   Client
		change   func(*Policy)
		sender   envelope.Address
		want     envelope.Address
		wantRule string
		refused  string
	}{
		{name: "own", client: client("192.168.10.7"), sender: "a@contoso.com", want: "a@contoso.com"},
		{name: "foreign", client: client("192.168.10.7"), sender: "a@gmail.com", want: "printer@contoso.com", wantRule: "senders.default"},
		{name: "mapped domain", client: client("192.168.10.7"), sender: "x@MFP.local", want: "scans@contoso.com", wantRule: "senders.map"},
		{name: "mapped address before domain", client: client("192.168.10.7"), sender: "Boss@mfp.local", want: "boss@contoso.com", wantRule: "senders.map"},
		{name: "foreign refused", client: client("192.168.10.7"), change: func(p *Policy) { p.Foreign = Refuse }, sender: "a@gmail.com",
			refused: "553 5.7.1 the sender <a@gmail.com> is in no accepted domain: set the device's own address", wantRule: "senders.foreign"},
		{name: "foreign kept", client: client("192.168.10.7"), change: func(p *Policy) { p.Foreign = Keep }, sender: "a@gmail.com", want: "a@gmail.com", wantRule: "senders.foreign"},
		{name: "empty as foreign", client: client("192.168.10.7"), change: func(p *Policy) { p.Foreign = Refuse }, wantRule: "senders.empty",
			refused: "553 5.7.1 mail without a sender is refused: set a sender on the device"},
		{name: "empty kept", client: client("192.168.10.7"), change: func(p *Policy) { p.Empty, p.NullSender = Keep, true }, wantRule: "senders.empty"},
		{name: "empty that the tenant does not relay", client: client("192.168.10.7"), change: func(p *Policy) { p.Empty = Keep }, wantRule: "senders.empty",
			refused: "553 5.7.1 mail without a sender is not relayed by the tenant: set a sender on the device, or senders.default"},
		{name: "restricted device", client: client("192.168.10.20"), sender: "ceo@contoso.com", want: "canon@contoso.com", wantRule: "senders of device 192.168.10.20"},
		{name: "device's network", client: client("192.168.10.21"), sender: "a@gmail.com", want: "floor2+lobby@contoso.com", wantRule: "sender of device 192.168.10.16/28, tag of device 192.168.10.16/28"},
		{name: "tag stays", client: client("192.168.10.21"), sender: "a+b@contoso.com", want: "a+b@contoso.com"},
		{name: "MAC before address", client: Client{Address: netip.MustParseAddr("192.168.10.20"), MAC: "00:1e:8f:12:34:56"}, sender: "a@gmail.com", want: "mac@contoso.com",
			wantRule: "sender of device 00:1e:8f:12:34:56"},
		{name: "user", client: Client{Address: netip.MustParseAddr("192.168.10.7"), User: bound}, sender: "ceo@contoso.com", want: "erp@contoso.com", wantRule: "the senders of user erp"},
		{name: "user's domain", client: Client{Address: netip.MustParseAddr("192.168.10.7"), User: bound}, sender: "x@contoso.de", want: "x@contoso.de"},
		{name: "user and device disagree", client: Client{Address: netip.MustParseAddr("192.168.10.20"), User: bound}, sender: "canon@contoso.com",
			refused: "553 5.7.1 192.168.10.20 may not send as <canon@contoso.com> (the senders of user erp)", wantRule: "the senders of user erp"},
		{name: "clear text", client: client("192.168.10.130"), sender: "a@contoso.com", wantRule: "lan.require_tls",
			refused: "530 5.7.0 TLS is required: turn on TLS or STARTTLS on the device"},
		{name: "TLS", client: Client{Address: netip.MustParseAddr("192.168.10.130"), Secure: true}, sender: "a@contoso.com", want: "a@contoso.com"},
		{name: "no login", client: client("192.168.10.200"), sender: "a@contoso.com", wantRule: "lan.require_auth",
			refused: "530 5.7.0 authentication is required: set a user name and a password on the device"},
		{name: "login", client: Client{Address: netip.MustParseAddr("192.168.10.200"), User: &User{Name: "a"}}, sender: "a@contoso.com", want: "a@contoso.com"},
		{name: "stranger", client: client("203.0.113.5"), sender: "a@contoso.com", wantRule: "lan.allow",
			refused: "554 5.7.1 the relay does not relay for 203.0.113.5: add its network to lan.allow"},
		{name: "stranger who can log in", client: client("10.9.1.1"), sender: "a@contoso.com", wantRule: "the addresses of a user",
			refused: "530 5.7.0 authentication is required: set a user name and a password on the device"},
		{name: "refused device", client: client("192.168.10.30"), sender: "a@contoso.com", wantRule: "refuse of device 192.168.10.30",
			refused: "554 5.7.1 the relay does not relay for 192.168.10.30: the settings refuse this device"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := site()
			if c.change != nil {
				c.change(p)
			}
			got, v := p.Sender(c.client, c.sender)
			refusal := ""
			if v.Refused() {
				refusal = v.Reply.String()
			}
			if got != c.want || refusal != c.refused || v.Rule != c.wantRule {
				t.Errorf("got %q, %q by %q, want %q, %q by %q", got, refusal, v.Rule, c.want, c.refused, c.wantRule)
			}
		})
	}
}

func TestFrom_ReplacesAuthorsThatTheClientMayNotUse(t *testing.T) {
	for _, c := range []struct {
		name, client string
		change       func(*Policy)
		sender       envelope.Address
		authors      string
		want         envelope.Address
		refused      bool
	}{
		{name: "own", client: "192.168.10.7", sender: "a@contoso.com", authors: "b@contoso.de"},
		{name: "foreign", client: "192.168.10.7", sender: "a@contoso.com", authors: "b@gmail.com", want: "a@contoso.com"},
		{name: "one of two foreign", client: "192.168.10.7", sender: "a@contoso.com", authors: "b@contoso.com b@gmail.com", want: "a@contoso.com"},
		{name: "another device's", client: "192.168.10.20", sender: "canon@contoso.com", authors: "ceo@contoso.com", want: "canon@contoso.com"},
		{name: "the sender without its tag", client: "192.168.10.21", sender: "a+lobby@contoso.com", authors: "a@contoso.com"},
		{name: "foreign with a tag", client: "192.168.10.21", sender: "a+lobby@contoso.com", authors: "a@gmail.com", want: "a@contoso.com"},
		{name: "kept", client: "192.168.10.7", change: func(p *Policy) { p.Author = Keep }, sender: "a@contoso.com", authors: "b@gmail.com"},
		{name: "kept, but not another device's", client: "192.168.10.20", change: func(p *Policy) { p.Author = Keep }, sender: "canon@contoso.com", authors: "ceo@contoso.com", want: "canon@contoso.com"},
		{name: "refused", client: "192.168.10.7", change: func(p *Policy) { p.Author = Refuse }, sender: "a@contoso.com", authors: "b@gmail.com", refused: true},
		{name: "what the sender is mapped from", client: "192.168.10.7", change: func(p *Policy) { p.Author = Refuse }, sender: "scans@contoso.com", authors: "x@mfp.local", want: "scans@contoso.com"},
		{name: "what another sender is mapped from", client: "192.168.10.7", change: func(p *Policy) { p.Author = Refuse }, sender: "a@contoso.com", authors: "x@mfp.local", refused: true},
		{name: "foreign sender that is kept", client: "192.168.10.7", sender: "b@gmail.com", authors: "B@gmail.com"},
		{name: "null sender", client: "192.168.10.7", authors: "b@gmail.com", want: "printer@contoso.com"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := site()
			if c.change != nil {
				c.change(p)
			}
			var authors []envelope.Address
			for _, author := range strings.Fields(c.authors) {
				authors = append(authors, envelope.Address(author))
			}
			if got, v := p.From(client(c.client), c.sender, authors); got != c.want || v.Refused() != c.refused {
				t.Errorf("got %q, %v, want %q, refused %v", got, v, c.want, c.refused)
			}
		})
	}
}

func TestRecipient_IsOneThatTheClientMaySendTo(t *testing.T) {
	user := &User{Name: "erp", Recipients: []Pattern{"@fabrikam.com"}}
	for _, c := range []struct {
		client    Client
		recipient envelope.Address
		want      bool
	}{
		{client("192.168.10.7"), "anyone@gmail.com", true},
		{client("192.168.10.20"), "a@contoso.com", true},
		{client("192.168.10.20"), "a@CONTOSO.de", true},
		{client("192.168.10.20"), "Boss@fabrikam.com", true},
		{client("192.168.10.20"), "a@fabrikam.com", false},
		{client("192.168.10.20"), "a%gmail.com@contoso.com", false},
		{client("192.168.10.20"), "IMCEASMTP-a+40gmail+2Ecom@contoso.com", false},
		{client("192.168.10.20"), "gmail.com!a@contoso.com", false},
		{client("192.168.10.20"), "a@[192.168.10.1]", false},
		{client("192.168.10.20"), "a@contoso.com.evil.org", false},
		{Client{Address: netip.MustParseAddr("192.168.10.7"), User: user}, "a@fabrikam.com", true},
		{Client{Address: netip.MustParseAddr("192.168.10.7"), User: user}, "a@contoso.com", false},
		{Client{Address: netip.MustParseAddr("192.168.10.20"), User: user}, "a@fabrikam.com", false},
		{Client{Address: netip.MustParseAddr("192.168.10.20"), User: user}, "boss@fabrikam.com", true},
	} {
		if v := site().Recipient(c.client, c.recipient); v.Refused() == c.want {
			t.Errorf("%s to %s: got %v, want accepted %v", c.client.Address, c.recipient, v, c.want)
		}
	}
}

func TestLogIn_IsLimitedToTheAddressesOfTheUser(t *testing.T) {
	bound := User{Name: "erp", Clients: []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16")}}
	for _, c := range []struct {
		client string
		user   User
		want   bool
	}{
		{"::ffff:10.9.1.1", bound, true},
		{"192.168.10.7", bound, false},
		{"10.9.1.1", User{Name: "a"}, false},
		{"192.168.10.7", User{Name: "a"}, true},
	} {
		if used, v := site().LogIn(client(c.client), c.user); (used != nil) != c.want || v.Refused() == c.want {
			t.Errorf("%s as %s: got %v, %v, want %v", c.client, c.user.Name, used, v, c.want)
		}
	}
	any := Client{Address: netip.MustParseAddr("192.168.10.7"), MAC: "00:1e:8f:12:34:56"}
	if used, v := site().LogIn(any, bound); used != nil || v.Refused() {
		t.Errorf("a device of which every login is accepted: got %v, %v, want no user", used, v)
	}
}
