package connector

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sealpost/relay/envelope"
	"sealpost/relay/journal"
	"sealpost/relay/reply"
	"sealpost/relay/upstream"
	"sealpost/tests/parts"
	"sealpost/tests/tenant"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const mx = "contoso-com.mail.protection.outlook.com"

// resolver is a Resolver that knows what a test tells it.
type resolver struct {
	mx      []string
	unknown bool
}

func (n resolver) LookupMX(_ context.Context, domain string) ([]*net.MX, error) {
	var records []*net.MX
	for _, host := range n.mx {
		records = append(records, &net.MX{Host: host + "."})
	}
	return records, nil
}

func (n resolver) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	if n.unknown {
		return nil, &net.DNSError{Name: host, Err: "no such host", IsNotFound: true}
	}
	return []netip.Addr{netip.MustParseAddr("::ffff:127.0.0.1")}, nil
}

type content string

func (c content) Open() io.Reader { return strings.NewReader(string(c)) }
func (c content) Size() int64     { return int64(len(c)) }

// site is a tenant, a connector to it, and what was recorded between them.
type site struct {
	tenant    *tenant.Tenant
	connector *Connector
	journal   *journal.Journal
	log       *bytes.Buffer
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

var authority = sync.OnceValue(func() *parts.Authority { return must(parts.NewAuthority("Test CA")) })

func newSite(t *testing.T, changeTenant func(*tenant.Config), change func(*Config)) *site {
	t.Helper()
	tc := tenant.Config{
		Certificate:     must(authority().IssueP256(nil, mx)),
		ClientCAs:       authority().Pool(),
		AcceptedDomains: []string{"contoso.com"},
		Connector:       "relay.contoso.com",
	}
	if changeTenant != nil {
		changeTenant(&tc)
	}
	s := &site{tenant: must(tenant.Start(tc)), log: &bytes.Buffer{}}
	t.Cleanup(s.tenant.Close)
	s.journal = journal.New(journal.JSON(s.log, true))
	own := must(authority().IssueP256(nil, "relay.contoso.com"))
	config := Config{
		Hello: "relay.contoso.com", Host: mx, Port: s.tenant.Address().Port, Roots: authority().Pool(),
		Identity:    &Identity{Chain: own.Certificate, Key: own.PrivateKey.(crypto.Signer), Name: "CN=relay.contoso.com", Label: "file"},
		Connections: 4, Patience: 5 * time.Second, Resolver: resolver{},
	}
	if change != nil {
		change(&config)
	}
	s.connector = New(config, s.journal)
	t.Cleanup(s.connector.Close)
	return s
}

func message(id string, recipients ...envelope.Address) envelope.Envelope {
	if recipients == nil {
		recipients = []envelope.Address{"alice@fabrikam.example"}
	}
	return envelope.Envelope{ID: id, Sender: "printer@contoso.com", Recipients: recipients, Size: int64(len(scan))}
}

const scan content = "Subject: scan\r\n\r\n.leading dot\r\n..two\r\nend\r\n"

func always([]reply.Reply) bool { return true }

func (s *site) deliver(e envelope.Envelope) (upstream.Result, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Second)
	defer cancel()
	return s.connector.Deliver(ctx, e, scan, always)
}

func TestAMessageIsDeliveredWithTheCertificateShown(t *testing.T) {
	for name, change := range map[string]func(*tenant.Config){
		"TLS 1.3":                          nil,
		"TLS 1.2":                          func(c *tenant.Config) { c.MaxTLS = tls.VersionTLS12 },
		"TLS 1.3 without CHUNKING":         func(c *tenant.Config) { c.Extensions = []string{"SIZE 1000", "PIPELINING"} },
		"TLS 1.3 without PIPELINING":       func(c *tenant.Config) { c.Extensions = []string{"SIZE 1000", "CHUNKING"} },
		"TLS 1.3 without any extension":    func(c *tenant.Config) { c.Extensions = []string{} },
		"TLS 1.3 whose CA list lacks ours": func(c *tenant.Config) { c.ClientCAs = must(parts.NewAuthority("Other")).Pool() },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, change, nil)
			result, err := s.deliver(message("1", "alice@fabrikam.example", "bob@fabrikam.example"))
			if strings.Contains(name, "lacks ours") {
				if err == nil || !strings.Contains(err.Error(), "refused our client certificate (unknown certificate authority)") {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil || !result.Taken || len(result.Answers) != 2 {
				t.Fatalf("got %+v, %v", result, err)
			}
			c := result.Connection
			if !strings.HasPrefix(name, c.TLS) || !c.Requested || c.Shown != "CN=relay.contoso.com" ||
				c.Host != mx || c.Peer != "CN="+mx || len(c.Authorities) != 1 || c.Authorities[0] != "CN=Test CA" {
				t.Errorf("the record is %+v", c)
			}
			messages := s.tenant.Messages()
			if len(messages) != 1 || string(messages[0].Content) != string(scan) || len(messages[0].Recipients) != 2 ||
				messages[0].Client.Subject.CommonName != "relay.contoso.com" {
				t.Errorf("the tenant has %+v", messages)
			}
		})
	}
}

func TestTheConversationCanBeReadWithoutTheContent(t *testing.T) {
	s := newSite(t, nil, nil)
	if _, err := s.deliver(message("1")); err != nil {
		t.Fatal(err)
	}
	s.connector.Close()
	for _, line := range []string{`"line":"< 220 stand-in`, `"line":"> EHLO relay.contoso.com"`, `"line":"> STARTTLS"`,
		fmt.Sprintf(`"line":"> MAIL FROM:<printer@contoso.com> SIZE=%d"`, len(scan)), fmt.Sprintf(`"line":"> [%d octets of content]"`, len(scan)), `"line":"< 250 2.6.0 <1@stand-in> Queued`, `"line":"> QUIT"`} {
		if !strings.Contains(strings.NewReplacer(`\u003e`, ">", `\u003c`, "<").Replace(s.log.String()), line) {
			t.Errorf("the journal lacks %s", line)
		}
	}
	if strings.Contains(s.log.String(), "leading dot") {
		t.Error("the journal holds the content")
	}
}

func TestABurstCostsOneSignature(t *testing.T) {
	for name, version := range map[string]uint16{"TLS 1.3": tls.VersionTLS13, "TLS 1.2": tls.VersionTLS12} {
		s := newSite(t, func(c *tenant.Config) { c.MaxTLS = version }, nil)
		var burst sync.WaitGroup
		for i := range 100 {
			burst.Go(func() {
				if result, err := s.deliver(message(fmt.Sprint(i))); err != nil || !result.Taken {
					t.Errorf("message %d: %+v, %v", i, result, err)
				}
			})
		}
		burst.Wait()
		if signatures := s.journal.Counters.Signatures.Load(); signatures != 1 || len(s.tenant.Messages()) != 100 {
			t.Errorf("%s: %d messages cost %d signatures", name, len(s.tenant.Messages()), signatures)
		}
		if opened := s.tenant.Connections(); opened > 4 {
			t.Errorf("%s: %d connections were opened", name, opened)
		}
	}
}

func TestAResumedConnectionSaysWhatItsSessionHadShown(t *testing.T) {
	s := newSite(t, nil, nil)
	if _, err := s.deliver(message("1")); err != nil {
		t.Fatal(err)
	}
	s.tenant.DropConnections()
	result, err := s.deliver(message("2"))
	if err != nil {
		t.Fatal(err)
	}
	c := result.Connection
	if !c.Resumed || !c.Requested || c.Shown != "CN=relay.contoso.com" || !s.tenant.Messages()[1].Resumed {
		t.Errorf("the record is %+v", c)
	}
}

func TestAKeptConnectionThatTheServerClosedCostsNothing(t *testing.T) {
	for name, spoil := range map[string]func(*site){
		"closed": func(s *site) { s.tenant.DropConnections() },
		"421": func(s *site) {
			first := true
			s.tenant.Behave(func(verb, _ string) string {
				if verb == "MAIL" && first {
					first = false
					return "421 4.3.2 Service not available, closing transmission channel"
				}
				return ""
			})
		},
	} {
		s := newSite(t, nil, nil)
		if _, err := s.deliver(message("1")); err != nil {
			t.Fatal(err)
		}
		spoil(s)
		if result, err := s.deliver(message("2")); err != nil || !result.Taken || s.tenant.Connections() != 2 {
			t.Errorf("%s: got %+v, %v over %d connections", name, result, err, s.tenant.Connections())
		}
	}
}

func TestRecipientsAreToldApart(t *testing.T) {
	for _, extensions := range [][]string{nil, {}} {
		s := newSite(t, func(c *tenant.Config) { c.Extensions = extensions }, nil)
		s.tenant.Behave(func(verb, argument string) string {
			switch {
			case verb == "RCPT" && strings.Contains(argument, "unknown"):
				return "550 5.1.1 User unknown"
			case verb == "RCPT" && strings.Contains(argument, "busy"):
				return "451 4.7.1 greylisted"
			}
			return ""
		})
		e := message("1", "alice@fabrikam.example", "unknown@fabrikam.example", "busy@fabrikam.example")
		ctx := context.Background()
		result, err := s.connector.Deliver(ctx, e, scan, func(answers []reply.Reply) bool {
			return answers[0].Code == 250 && answers[1].Code == 550 && answers[2].Code == 451
		})
		if err != nil || !result.Taken || result.Answers[0].Status.Subject != 6 || result.Answers[1].Code != 550 || result.Answers[2].Code != 451 {
			t.Errorf("got %+v, %v", result, err)
		}
		result, err = s.connector.Deliver(ctx, e, scan, func([]reply.Reply) bool { return false })
		if err != nil || result.Taken || len(s.tenant.Messages()) != 1 {
			t.Errorf("judged unfit, yet got %+v, %v", result, err)
		}
		if _, err := s.deliver(message("2")); err != nil || s.tenant.Connections() != 1 {
			t.Errorf("after a transaction given up: %v, %d connections", err, s.tenant.Connections())
		}
	}
}

func TestTheRelayRuleIsAnsweredAsARefusal(t *testing.T) {
	s := newSite(t, nil, func(c *Config) { c.Identity = nil })
	result, err := s.deliver(message("1"))
	if err != nil || result.Taken || result.Answers[0].Code != 550 || result.Answers[0].Status.Detail != 64 {
		t.Errorf("got %+v, %v", result, err)
	}
	if c := result.Connection; !c.Requested || c.Shown != "" || c.Certificate() != "certificate requested: yes, shown: none" {
		t.Errorf("the record is %+v", c)
	}
}

func expired(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) }

func TestWhatStandsInTheWayIsSaidAndNothingIsSentInClear(t *testing.T) {
	script := func(at, answer string) func(*tenant.Config) {
		return func(c *tenant.Config) {
			c.Script = func(verb, _ string) string {
				if verb == at {
					return answer
				}
				return ""
			}
		}
	}
	for name, c := range map[string]struct {
		tenant func(*tenant.Config)
		config func(*Config)
		words  string
	}{
		"no STARTTLS":          {func(c *tenant.Config) { c.NoSTARTTLS = true }, nil, "4.7.5 " + mx + " does not offer STARTTLS; mail is never sent in clear"},
		"STARTTLS refused":     {script("STARTTLS", "454 4.7.0 TLS not available"), nil, "4.4.2 " + mx + " said: 454 4.7.0 TLS not available"},
		"clear text after it":  {script("STARTTLS", "220 go ahead\r\n250 forged"), nil, "tampering"},
		"hangs up before TLS":  {script("STARTTLS", tenant.HangUp), nil, "4.4.2"},
		"expired certificate":  {func(c *tenant.Config) { c.Certificate = must(authority().IssueP256(expired, mx)) }, nil, "it has expired or is not valid yet; check the box's clock too"},
		"wrong name":           {func(c *tenant.Config) { c.Certificate = must(authority().IssueP256(nil, "mx.evil.example")) }, nil, "it is for another name"},
		"unknown issuer":       {nil, func(c *Config) { c.Roots = must(parts.NewAuthority("Other")).Pool() }, "its issuer is unknown"},
		"TLS 1.1":              {func(c *tenant.Config) { c.MinTLS, c.MaxTLS = tls.VersionTLS10, tls.VersionTLS11 }, nil, "TLS 1.2 or later is needed"},
		"closes at once":       {script("CONNECT", tenant.HangUp), nil, "4.4.2 the connection to " + mx + " broke off"},
		"closes midway":        {script("MIDWAY", tenant.HangUp), nil, "4.4.2"},
		"stalls at once":       {script("CONNECT", tenant.Stall), nil, "4.4.2 " + mx + " did not answer in time"},
		"stalls midway":        {script("MIDWAY", tenant.Stall), nil, "4.4.2 " + mx + " did not answer in time"},
		"stalls at the end":    {script("CONTENT", tenant.Stall), nil, "4.4.2 " + mx + " did not answer in time"},
		"100,000 characters":   {script("CONNECT", "220 "+strings.Repeat("x", 100_000)), nil, "4.5.0 " + mx + " does not speak SMTP: a reply line longer"},
		"the same under TLS":   {script("RCPT", "250 "+strings.Repeat("x", 100_000)), nil, "4.5.0 " + mx + " does not speak SMTP: a reply line longer"},
		"endless reply":        {script("EHLO", strings.Repeat("250-x\r\n", 1000)+"250 x"), nil, "more than 128 lines"},
		"not SMTP":             {script("CONNECT", "SSH-2.0-OpenSSH_9.2"), nil, "does not speak SMTP: not an SMTP reply"},
		"busy":                 {script("CONNECT", "421 4.3.2 Service not available"), nil, "said: 421 4.3.2 Service not available"},
		"busy at MAIL":         {script("MAIL", "421 4.3.2 Service not available"), nil, "said: 421 4.3.2 Service not available"},
		"an answer of no kind": {script("CONTENT", "354 go on"), nil, "said: 354 go on"},
		"nobody there":         {nil, func(c *Config) { c.Port = 1 }, "4.4.1 cannot reach " + mx + ": check the internet line and that outbound port 25 is open"},
		"unknown name":         {nil, func(c *Config) { c.Resolver = resolver{unknown: true} }, "4.4.4 the name " + mx + " is not known to DNS"},
		"MX elsewhere": {nil, func(c *Config) {
			c.Host, c.Domain, c.Resolver = "", "contoso.com", resolver{mx: []string{"mx.filter.example"}}
		}, `4.3.5 the MX of contoso.com is "mx.filter.example", not an Exchange Online host`},
		"the key fails": {nil, func(c *Config) { c.Identity.Key = brokenKey{c.Identity.Key} }, "4.3.5 the key of the client certificate cannot be used: TPM absent"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, c.tenant, func(config *Config) {
				config.Patience = 300 * time.Millisecond
				if c.config != nil {
					c.config(config)
				}
			})
			_, err := s.deliver(message("1"))
			u := (*upstream.Unavailable)(nil)
			if !errors.As(err, &u) {
				t.Fatalf("got %v", err)
			}
			if answer := u.Reply(); answer.Code != 451 || !strings.Contains(answer.String(), c.words) {
				t.Errorf("the client hears %q, want %q (%v)", answer, c.words, err)
			}
			if clear := s.tenant.InClear(); strings.Contains(clear, "MAIL") || strings.Contains(clear, "scan") {
				t.Errorf("said in clear: %q", clear)
			}
			if len(s.tenant.Messages()) != 0 && name != "stalls at the end" {
				t.Error("the tenant took the message")
			}
		})
	}
}

// brokenKey is a key whose TPM has gone.
type brokenKey struct{ crypto.Signer }

func (brokenKey) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("TPM absent: check that it is fitted")
}

func TestAServerThatTakesItsTimeOverTheContentIsWaitedFor(t *testing.T) {
	s := newSite(t, nil, func(c *Config) { c.Patience = 100 * time.Millisecond })
	s.tenant.Behave(func(verb, _ string) string {
		if verb == "CONTENT" {
			time.Sleep(400 * time.Millisecond)
		}
		return ""
	})
	if result, err := s.deliver(message("1")); err != nil || !result.Taken {
		t.Errorf("got %+v, %v", result, err)
	}
}

func TestAReplyTooManyIsNotTakenForTheNextOne(t *testing.T) {
	for _, verb := range []string{"CONTENT", "RCPT"} {
		s := newSite(t, nil, nil)
		s.tenant.Behave(func(said, _ string) string {
			if said == verb {
				return "250 2.0.0 yes\r\n250 2.0.0 and yes"
			}
			return ""
		})
		_, first := s.deliver(message("1"))
		s.tenant.Behave(func(said, _ string) string {
			if said == "CONTENT" {
				return "550 5.7.1 refused"
			}
			return ""
		})
		second, err := s.deliver(message("2"))
		if err != nil || second.Taken || second.Answers[0].Code != 550 {
			t.Errorf("%s answered twice: first %v, then %+v, %v", verb, first, second, err)
		}
	}
}

func TestTheMXIsFoundByDNS(t *testing.T) {
	for _, host := range []string{mx, "contoso-com.r-v1.mx.microsoft"} {
		s := newSite(t, func(c *tenant.Config) { c.Certificate = must(authority().IssueP256(nil, host)) },
			func(c *Config) { c.Host, c.Domain, c.Resolver = "", "contoso.com", resolver{mx: []string{host}} })
		result, err := s.deliver(message("1"))
		if err != nil || result.Connection.Host != host {
			t.Errorf("%s: got %+v, %v", host, result, err)
		}
	}
}

func TestAnEndlessServerIsLeftWhenTheAttemptIsOver(t *testing.T) {
	s := newSite(t, func(c *tenant.Config) {
		c.Script = func(verb, _ string) string {
			if verb == "MAIL" {
				return tenant.Stall
			}
			return ""
		}
	}, nil)
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	begun := time.Now()
	if _, err := s.connector.Deliver(ctx, message("1"), scan, always); err == nil || !strings.Contains(err.Error(), "did not answer in time") {
		t.Errorf("got %v", err)
	}
	if lasted := time.Since(begun); lasted > 3*time.Second {
		t.Errorf("it took %v", lasted)
	}
}
