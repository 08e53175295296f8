package transport

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sealpost/hal/fault"
	"sealpost/relay/envelope"
	"sealpost/relay/journal"
	"sealpost/relay/reply"
	"sealpost/relay/upstream"
	"sealpost/relay/upstream/esmtp"
	"sealpost/tests/rigs/parts"
	"sealpost/tests/rigs/tenant"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const mx = "contoso-com.mail.protection.outlook.com"

// certified is a Method with a client certificate and no authentication.
type certified struct {
	key   crypto.Signer
	chain [][]byte

	mu           sync.Mutex
	destinations []Destination // for the hosts of
}

func (c *certified) Hosts(_ context.Context, to Destination) ([]Host, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.destinations = append(c.destinations, to)
	return []Host{{Name: mx}}, nil
}

func (c *certified) Describe(string, error) (s reply.Status, r string, code fault.Code) {
	return s, r, code
}
func (c *certified) NewHandshake(record *journal.Connection, account string) Handshake {
	record.Account = account
	return shown{c, record}
}

type shown struct {
	*certified
	record *journal.Connection
}

func (s shown) Certificate() *tls.Certificate {
	s.record.Shown, s.record.Key = "CN=relay.contoso.com", "file"
	return &tls.Certificate{Certificate: s.chain, PrivateKey: s.key}
}

func (s shown) Authenticate(ctx context.Context, client *esmtp.Client) error {
	return client.Hello(ctx, "relay")
}

// resolver is a Resolver that resolves every name, or none.
type resolver struct {
	unknown bool
	silent  string // the server that does not respond
}

func (n resolver) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	if n.unknown {
		return nil, &net.DNSError{Name: host, Err: "no such host", IsNotFound: true}
	}
	if n.silent != "" {
		return nil, &net.DNSError{Name: host, Err: "i/o timeout", Server: n.silent, IsTimeout: true}
	}
	return []netip.Addr{netip.MustParseAddr("::ffff:127.0.0.1")}, nil
}

type content string

func (c content) Open() io.Reader { return strings.NewReader(string(c)) }
func (c content) Size() int64     { return int64(len(c)) }

// site is a fake tenant, a transport to it, and its journal.
type site struct {
	tenant    *tenant.Tenant
	transport *Transport
	method    *certified
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
	certificate := must(authority().IssueP256(nil, "relay.contoso.com"))
	s.method = &certified{key: certificate.PrivateKey.(crypto.Signer), chain: certificate.Certificate}
	config := Config{
		Hello: "relay.contoso.com", HostName: "the tenant", Settings: "upstream.host", Port: s.tenant.Address().Port, Roots: authority().Pool(),
		Connections: 4, ReplyTimeout: 5 * time.Second, Resolver: resolver{},
	}
	if change != nil {
		change(&config)
	}
	s.transport = New(config, s.method, s.journal)
	t.Cleanup(s.transport.Close)
	return s
}

func message(id string, recipients ...envelope.Address) envelope.Envelope {
	if recipients == nil {
		recipients = []envelope.Address{"alice@fabrikam.example"}
	}
	return envelope.Envelope{ID: id, Sender: "printer@contoso.com", Recipients: recipients, Size: int64(len(scan))}
}

const scan content = "Subject: scan\r\n\r\n.leading dot\r\n..two\r\nend\r\n"

// always sends the content whatever the replies are.
var always = upstream.Transactions{ShouldSend: func([]reply.Reply) bool { return true }}

func (s *site) deliver(e envelope.Envelope) (upstream.Result, error) {
	return s.deliverAs("", e)
}

func (s *site) deliverAs(account string, e envelope.Envelope) (upstream.Result, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Second)
	defer cancel()
	return s.transport.Deliver(ctx, Destination{Account: account}, e, scan, always)
}

func TestSessions_NeedOneSignatureInABurst(t *testing.T) {
	for name, version := range map[string]uint16{"TLS 1.3": tls.VersionTLS13, "TLS 1.2": tls.VersionTLS12} {
		s := newSite(t, func(c *tenant.Config) { c.MaxTLS = version }, nil)
		var burst sync.WaitGroup
		for i := range 100 {
			burst.Go(func() {
				if result, err := s.deliver(message(fmt.Sprint(i))); err != nil || !result.Accepted {
					t.Errorf("message %d: got %+v, %v, want accepted", i, result, err)
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

func TestSessions_CopyTheOriginToAResumedConnection(t *testing.T) {
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

func TestPool_ReplacesAClosedConnection(t *testing.T) {
	for name, spoil := range map[string]func(*site){
		"closed": func(s *site) { s.tenant.DropConnections() },
		"421": func(s *site) {
			first := true
			s.tenant.SetScript(func(verb, _ string) string {
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
		if result, err := s.deliver(message("2")); err != nil || !result.Accepted || s.tenant.Connections() != 2 {
			t.Errorf("%s: got %+v, %v over %d connections", name, result, err, s.tenant.Connections())
		}
	}
}

func TestDeliver_ReturnsAReplyPerRecipient(t *testing.T) {
	for _, extensions := range [][]string{nil, {}} {
		s := newSite(t, func(c *tenant.Config) { c.Extensions = extensions }, nil)
		s.tenant.SetScript(func(verb, argument string) string {
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
		result, err := s.transport.Deliver(ctx, Destination{}, e, scan, upstream.Transactions{ShouldSend: func(replies []reply.Reply) bool {
			return replies[0].Code == 250 && replies[1].Code == 550 && replies[2].Code == 451
		}})
		if err != nil || !result.Accepted || result.Replies[0].Status.Subject != 6 || result.Replies[1].Code != 550 || result.Replies[2].Code != 451 {
			t.Errorf("got %+v, %v", result, err)
		}
		result, err = s.transport.Deliver(ctx, Destination{}, e, scan, upstream.Transactions{ShouldSend: func([]reply.Reply) bool { return false }})
		if err != nil || result.Accepted || len(s.tenant.Messages()) != 1 {
			t.Errorf("with ShouldSend false: got %+v, %v", result, err)
		}
		if _, err := s.deliver(message("2")); err != nil || s.tenant.Connections() != 1 {
			t.Errorf("after a transaction given up: %v, %d connections", err, s.tenant.Connections())
		}
	}
}

func TestPool_SeparatesConnectionsByAccount(t *testing.T) {
	s := newSite(t, nil, func(c *Config) { c.Connections, c.PerDestination = 3, 2 })
	var mu sync.Mutex
	begun, meet := 0, make(chan struct{})
	s.tenant.SetScript(func(verb, _ string) string {
		if verb != "CONTENT" {
			return ""
		}
		mu.Lock()
		if begun++; begun == 2 {
			close(meet)
		}
		mu.Unlock()
		select {
		case <-meet:
		case <-time.After(2 * time.Second):
		}
		return ""
	})
	var burst sync.WaitGroup
	for i := range 24 {
		account := []string{"a@contoso.com", "b@contoso.com", "c@contoso.com"}[i%3]
		burst.Go(func() {
			result, err := s.deliverAs(account, message(fmt.Sprint(i)))
			if err != nil || !result.Accepted || result.Connection.Account != account {
				t.Errorf("%s: got %+v, %v, want accepted for that account", account, result, err)
			}
		})
	}
	burst.Wait()
	if maxOpen := s.tenant.MostOpen(); maxOpen > 3 || maxOpen < 2 {
		t.Errorf("%d connections were open at once", maxOpen)
	}
}

func TestPool_ReusesConnectionsForTheSameDestination(t *testing.T) {
	s := newSite(t, nil, nil)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	here, there := Destination{Domain: "contoso.com"}, Destination{Domain: "fabrikam.example"}
	for i, to := range []Destination{here, here, there, here, there} {
		if result, err := s.transport.Deliver(ctx, to, message(fmt.Sprint(i)), scan, always); err != nil || !result.Accepted {
			t.Errorf("to %s: got %+v, %v, want accepted", to.Domain, result, err)
		}
	}
	if !slices.Equal(s.method.destinations, []Destination{here, there}) || s.tenant.Connections() != 2 {
		t.Errorf("the hosts of %v were asked for, %d connections were opened", s.method.destinations, s.tenant.Connections())
	}
}
