package direct

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"sealpost/relay/envelope"
	"sealpost/relay/journal"
	"sealpost/relay/reply"
	"sealpost/relay/upstream"
	"sealpost/relay/upstream/dns"
	"sealpost/relay/upstream/mtasts"
	"sealpost/relay/upstream/transport"
	"sealpost/tests/rigs/parts"
	"sealpost/tests/rigs/tenant"
)

func TestDirect_SendsOnlyOverTheTLSThatTheDomainMustHave(t *testing.T) {
	private := must(parts.NewAuthority("Private CA"))
	const host, domain = "mx.a.com", "a.com"
	privately := func(l *lab) {
		c := l.receivers[host].config
		c.Certificate = must(private.IssueP256(nil, host))
		l.receivers[host].config = c
		l.receivers[host].Reconfigure(c)
		l.receivers[host].script(nil)
	}
	noTLS := func(l *lab) {
		c := l.receivers[host].config
		c.NoSTARTTLS = true
		l.receivers[host].Reconfigure(c)
		l.receivers[host].script(nil)
	}
	enforce := mtasts.Policy{Mode: mtasts.Enforce, MX: []string{host}, MaxAge: time.Hour}
	lists := func(p mtasts.Policy, mx string) mtasts.Policy { p.MX = []string{mx}; return p }
	for _, c := range []struct {
		name    string
		change  func(*lab)
		setting TLS
		want    string // the policy of the connection, or a part of the reply
		refused bool
	}{
		{name: "a public certificate", want: "verified certificate"},
		{name: "a private certificate", change: privately, want: "451 4.7.5 the certificate of mx.a.com is not trusted: it is not verified by a public root", refused: true},
		{name: "no TLS", change: noTLS, want: "451 4.7.5 mx.a.com does not offer STARTTLS; mail to this domain is held", refused: true},
		{name: "a private certificate, which the settings accept", change: privately, setting: Encrypt, want: "any certificate, by the settings"},
		{name: "no TLS, where the settings demand it", change: noTLS, setting: Encrypt, want: "451 4.7.5 mx.a.com does not offer STARTTLS", refused: true},
		{name: "no TLS, which the settings accept", change: noTLS, setting: May, want: "if offered, by the settings"},
		{name: "MTA-STS", change: func(l *lab) { l.zones.policies[domain] = enforce }, want: "MTA-STS"},
		{name: "MTA-STS with a private certificate", change: func(l *lab) { privately(l); l.zones.policies[domain] = enforce }, want: "451 4.7.5 the certificate of mx.a.com is not trusted", refused: true},
		{name: "MTA-STS that lists another host", change: func(l *lab) { l.zones.policies[domain] = lists(enforce, "mx.b.com") }, want: "451 4.7.5 the MTA-STS policy of a.com does not list its mail host mx.a.com", refused: true},
		{name: "MTA-STS that is testing", change: func(l *lab) { l.zones.policies[domain] = mtasts.Policy{Mode: mtasts.Testing, MX: []string{"mx.b.com"}} }, want: "verified certificate, MTA-STS is testing"},
		{name: "DANE of the host", change: func(l *lab) {
			privately(l)
			l.zones.validated, l.zones.tlsa[host] = true, ee(l.receivers[host])
		}, want: "DANE"},
		{name: "DANE of an authority", change: func(l *lab) {
			privately(l)
			c := l.receivers[host].config
			c.Certificate.Certificate = append(c.Certificate.Certificate, private.Certificate.Raw)
			l.receivers[host].Reconfigure(c)
			l.receivers[host].script(nil)
			l.zones.validated, l.zones.tlsa[host] = true, ta(private.Certificate)
		}, want: "DANE"},
		{name: "DANE that is not validated", change: func(l *lab) { privately(l); l.zones.tlsa[host] = ee(l.receivers[host]) }, want: "451 4.7.5 the certificate of mx.a.com is not trusted: it is not verified", refused: true},
		{name: "DANE that does not match", change: func(l *lab) {
			l.zones.validated, l.zones.tlsa[host] = true, ta(private.Certificate)
		}, want: "451 4.7.5 the certificate of mx.a.com is not trusted: DANE: no TLSA record matches", refused: true},
		{name: "DANE goes before MTA-STS", change: func(l *lab) {
			privately(l)
			l.zones.policies[domain] = enforce
			l.zones.validated, l.zones.tlsa[host] = true, ee(l.receivers[host])
		}, want: "DANE"},
		{name: "DANE that is bogus", change: func(l *lab) {
			l.zones.validated = true
			l.zones.broken[fmt.Sprintf("_%d._tcp.%s", l.port, host)] = true
		}, want: "451 4.4.3 the DNS of the TLSA records of mx.a.com fails", refused: true},
		{name: "DANE that nobody can use", change: func(l *lab) {
			l.zones.validated, l.zones.tlsa[host] = true, []dns.TLSA{{Usage: 1, Data: []byte{1}}, {Usage: usageEE, MatchingType: matchSHA256, Data: []byte{1}}}
		}, want: "verified certificate"},
		{name: "mail hosts whose DNS fails", change: func(l *lab) { l.zones.broken[domain] = true }, want: "451 4.4.3 the DNS of the mail hosts of a.com fails", refused: true},
		{name: "a null MX", change: func(l *lab) { l.zones.mx[domain] = []dns.MX{{Host: "."}} }, want: "556 5.1.10 the domain a.com accepts no mail (null MX)", refused: true},
		{name: "no domain", change: func(l *lab) { delete(l.zones.mx, domain) }, want: "550 5.1.2 the domain a.com does not exist", refused: true},
		{name: "neither MX nor address", change: func(l *lab) { l.zones.mx[domain] = nil }, want: "550 5.1.2 the domain a.com has no mail host", refused: true},
		{name: "a mail host without address", change: func(l *lab) { l.zones.addresses[host] = nil }, want: "451 4.4.4 the mail host mx.a.com has no address in DNS", refused: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t, func(config *Config, _ *zones) {
				if c.setting != "" {
					config.Domains = map[string]TLS{domain: c.setting}
				}
			}, host)
			if c.change != nil {
				c.change(l)
			}
			result, err := l.deliverTo(t, "x@a.com")
			if err != nil {
				t.Fatal(err)
			}
			if c.refused {
				if got := result.Replies[0].String(); result.Accepted || !strings.HasPrefix(got, c.want) {
					t.Errorf("got %q, want %q", got, c.want)
				}
				if len(l.receivers[host].Messages()) > 0 || strings.Contains(l.receivers[host].Plaintext(), "MAIL") {
					t.Error("the message was sent")
				}
				return
			}
			if !result.Accepted || result.Connection.Policy != c.want || len(l.receivers[host].Messages()) != 1 {
				t.Errorf("got %+v, want the policy %q\n%s", result, c.want, l.log)
			}
			if clear := c.setting == May; clear != (result.Connection.TLS == "none") {
				t.Errorf("got TLS %q", result.Connection.TLS)
			}
		})
	}
}

func TestDirect_TriesTheNextHost(t *testing.T) {
	l := newLab(t, nil, "mx1.a.com", "mx2.a.com", "mx3.a.com")
	l.receivers["mx1.a.com"].script(map[string]string{"CONNECT": "554 5.3.2 no service"})
	l.receivers["mx2.a.com"].stop()
	for n := range 2 {
		if result, _, err := l.deliver(t, "x@a.com"); err != nil || result.Connection.Host != "mx3.a.com" {
			t.Errorf("got %+v, %v, want mx3.a.com", result, err)
		}
		if n == 0 {
			l.receivers["mx3.a.com"].DropConnections()
		}
	}
	if tried := l.receivers["mx1.a.com"].Connections(); tried != 1 {
		t.Errorf("got %d connections to a host that failed, want 1", tried)
	}
}

func TestDirect_UsesTheDomainItselfWithoutMX(t *testing.T) {
	l := newLab(t, nil, "a.com")
	l.zones.mx = map[string][]dns.MX{"a.com": nil}
	if result, _, err := l.deliver(t, "x@a.com"); err != nil || result.Connection.Host != "a.com" {
		t.Errorf("got %+v, %v, want a.com", result, err)
	}
}

func TestDirect_TellsTheRecipientsOfEachDomainApart(t *testing.T) {
	l := newLab(t, nil, "mx.a.com", "mx.b.com", "mx.c.com", "mx.d.com")
	l.receivers["mx.b.com"].script(map[string]string{"RCPT": "550 5.1.1 no such user"})
	l.receivers["mx.c.com"].script(map[string]string{"RCPT": "451 4.7.1 greylisted, try again"})
	l.receivers["mx.d.com"].script(map[string]string{"CONTENT": tenant.HangUp})
	delete(l.zones.mx, "e.com")
	result, settled, err := l.deliver(t, "1@a.com", "2@b.com", "3@A.com", "4@c.com", "5@d.com", "6@e.com")
	if err != nil {
		t.Fatal(err)
	}
	var codes []int
	for _, each := range result.Replies {
		codes = append(codes, each.Code)
	}
	if want := []int{250, 550, 250, 451, 451, 550}; !slices.Equal(codes, want) || !result.Accepted {
		t.Errorf("got %v, want %v", result.Replies, want)
	}
	if want := []bool{false, false, false, false, true, false}; !slices.Equal(result.Unanswered, want) {
		t.Errorf("got unanswered %v, want %v", result.Unanswered, want)
	}
	if len(settled) != 4 || settled[0][0].Code != 250 || settled[0][1].Code != 0 || settled[3][5].Code != 0 {
		t.Errorf("got settled %v", settled)
	}
	if messages := l.receivers["mx.a.com"].Messages(); len(messages) != 1 || !slices.Equal(messages[0].Recipients, []string{"1@a.com", "3@A.com"}) {
		t.Errorf("got %v, want one message for both recipients", messages)
	}
	for _, want := range []string{`"msg":"transaction"`, `"domain":"a.com"`, "550 5.1.1 no such user"} {
		if !strings.Contains(l.log.String(), want) {
			t.Errorf("the journal lacks %s:\n%s", want, l.log)
		}
	}
}

func TestDirect_StopsWhereItsCallerDoes(t *testing.T) {
	l := newLab(t, nil, "mx.a.com", "mx.b.com")
	e := envelope.Envelope{Sender: "a@contoso.com", Recipients: []envelope.Address{"1@a.com", "2@b.com"}}
	var asked [][]reply.Reply
	result, err := l.Deliver(t.Context(), e, content("\r\n"), upstream.Transactions{ShouldSend: func(replies []reply.Reply) bool {
		asked = append(asked, replies)
		return false
	}})
	if err != nil || result.Accepted || len(asked) != 1 || asked[0][0].Code != 250 || asked[0][1].Code != 0 || result.Replies[1].Code != 0 {
		t.Errorf("got %+v, %v after %v, want one question and no content", result, err, asked)
	}
	if len(l.receivers["mx.a.com"].Messages()) > 0 || l.receivers["mx.b.com"].Connections() > 0 {
		t.Error("a message was sent")
	}
}

func TestDirect_TellsADeadLineFromADeadDomain(t *testing.T) {
	l := newLab(t, nil, "mx.a.com", "mx.b.com", "mx.c.com", "mx.d.com")
	for _, host := range []string{"mx.a.com", "mx.b.com", "mx.c.com"} {
		l.receivers[host].stop()
	}
	for _, recipient := range []envelope.Address{"1@a.com", "2@a.com", "3@a.com", "1@b.com"} {
		u := (*upstream.Unavailable)(nil)
		if _, _, err := l.deliver(t, recipient); !errors.As(err, &u) || !u.Account {
			t.Errorf("%s: got %v, want only its domain unavailable", recipient, err)
		}
	}
	u := (*upstream.Unavailable)(nil)
	if _, _, err := l.deliver(t, "1@c.com"); !errors.As(err, &u) || u.Account || !strings.Contains(u.Reason, "outbound port") {
		t.Errorf("the third domain: got %v, want no domain reachable", err)
	}
	if result, _, err := l.deliver(t, "1@c.com", "1@d.com"); err != nil || !result.Accepted {
		t.Errorf("a domain that works: got %v, %v", result.Replies, err)
	}
	if _, _, err := l.deliver(t, "1@a.com"); !errors.As(err, &u) || !u.Account {
		t.Errorf("after that: got %v, want only its domain unavailable", err)
	}
	l.zones.silent = true
	if _, _, err := l.deliver(t, "1@e.com"); !errors.As(err, &u) || u.Account || !strings.Contains(u.Reason, "no DNS response") {
		t.Errorf("without DNS: got %v, want no domain reachable", err)
	}
}

func TestHosts_AreInRandomOrderWithinAPreference(t *testing.T) {
	z := &zones{mx: map[string][]dns.MX{"a.com": {{Preference: 20, Host: "c"}, {Preference: 10, Host: "a"}, {Preference: 10, Host: "b"}, {Preference: 30, Host: "."}}}}
	m := method{config: Config{Resolver: z, Policies: z}, journal: journal.Discard()}
	orders := map[string]int{}
	for range 200 {
		hosts, err := m.Hosts(t.Context(), transport.Destination{Domain: "a.com"})
		if err != nil {
			t.Fatal(err)
		}
		order := ""
		for _, host := range hosts {
			order += host.Name
		}
		orders[order]++
	}
	if len(orders) != 2 || orders["abc"] < 50 || orders["bac"] < 50 {
		t.Errorf("got %v, want abc and bac about as often", orders)
	}
}

// suffixSigner signs by a suffix.
type suffixSigner struct{ err error }

func (s suffixSigner) Sign(e envelope.Envelope, c envelope.Content) (envelope.Content, error) {
	text := must(io.ReadAll(c.Open()))
	return content("Signed: yes\r\n" + string(text)), s.err
}

func TestDirect_SignsWhatItSends(t *testing.T) {
	l := newLab(t, func(c *Config, _ *zones) { c.Signer = suffixSigner{} }, "mx.a.com")
	const text content = "From: a@contoso.com\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nScan für Zoë\r\n"
	e := envelope.Envelope{Sender: "a@contoso.com", Recipients: []envelope.Address{"x@a.com"}, Size: text.Size(), EightBit: true}
	if _, err := l.Deliver(t.Context(), e, text, upstream.Transactions{ShouldSend: func([]reply.Reply) bool { return true }}); err != nil {
		t.Fatal(err)
	}
	if got := string(l.receivers["mx.a.com"].Messages()[0].Content); !strings.HasPrefix(got, "Signed: yes\r\n") || !strings.Contains(got, "f=C3=BCr") {
		t.Errorf("got %q, want it signed, in seven bits", got)
	}
	failing := newLab(t, func(c *Config, _ *zones) { c.Signer = suffixSigner{errors.New("TPM absent")} }, "mx.a.com")
	u := (*upstream.Unavailable)(nil)
	if _, _, err := failing.deliver(t, "x@a.com"); !errors.As(err, &u) || !u.Configuration || !strings.Contains(u.Reason, "TPM absent") {
		t.Errorf("without a key: got %v", err)
	}
}
