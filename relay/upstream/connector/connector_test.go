package connector

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
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
	"sealpost/tests/rigs/parts"
	"sealpost/tests/rigs/tenant"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const mx = "contoso-com.mail.protection.outlook.com"

// resolver is a Resolver with the records of a test.
type resolver struct{ mx []string }

func (n resolver) LookupMX(_ context.Context, domain string) ([]*net.MX, error) {
	var records []*net.MX
	for _, host := range n.mx {
		records = append(records, &net.MX{Host: host + "."})
	}
	return records, nil
}

func (n resolver) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	return []netip.Addr{netip.MustParseAddr("::ffff:127.0.0.1")}, nil
}

type content string

func (c content) Open() io.Reader { return strings.NewReader(string(c)) }
func (c content) Size() int64     { return int64(len(c)) }

// site is a fake tenant, a connector client for it, and its journal.
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
	certificate := must(authority().IssueP256(nil, "relay.contoso.com"))
	config := Config{
		Hello: "relay.contoso.com", Host: mx, Port: s.tenant.Address().Port, Roots: authority().Pool(),
		Identity:    &Identity{Chain: certificate.Certificate, Key: certificate.PrivateKey.(crypto.Signer), Name: "CN=relay.contoso.com", Label: "file"},
		Connections: 4, ReplyTimeout: 5 * time.Second, Resolver: resolver{},
		MailHosts: []string{".mail.protection.outlook.com", ".mx.microsoft"},
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

// always sends the content whatever the replies are.
var always = upstream.Transactions{ShouldSend: func([]reply.Reply) bool { return true }}

func (s *site) deliver(e envelope.Envelope) (upstream.Result, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Second)
	defer cancel()
	return s.connector.Deliver(ctx, e, scan, always)
}

func TestConnector_SendsTheClientCertificate(t *testing.T) {
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
			if err != nil || !result.Accepted || len(result.Replies) != 2 {
				t.Fatalf("got %+v, %v", result, err)
			}
			c := result.Connection
			if !strings.HasPrefix(name, c.TLS) || !c.Requested || c.Shown != "CN=relay.contoso.com" ||
				c.Host != mx || c.Peer != "CN="+mx || len(c.Authorities) != 1 || c.Authorities[0] != "CN=Test CA" {
				t.Errorf("got connection %+v", c)
			}
			messages := s.tenant.Messages()
			if len(messages) != 1 || string(messages[0].Content) != string(scan) || len(messages[0].Recipients) != 2 ||
				messages[0].Client.Subject.CommonName != "relay.contoso.com" {
				t.Errorf("got messages %+v", messages)
			}
		})
	}
}

func TestConnector_JournalsTheDialogueWithoutContent(t *testing.T) {
	s := newSite(t, nil, nil)
	if _, err := s.deliver(message("1")); err != nil {
		t.Fatal(err)
	}
	s.connector.Close()
	for _, line := range []string{`"line":"< 220 mock`, `"line":"> EHLO relay.contoso.com"`, `"line":"> STARTTLS"`,
		fmt.Sprintf(`"line":"> MAIL FROM:<printer@contoso.com> SIZE=%d"`, len(scan)), fmt.Sprintf(`"line":"> [%d octets of content]"`, len(scan)), `"line":"< 250 2.6.0 <1@mock> Queued`, `"line":"> QUIT"`} {
		if !strings.Contains(strings.NewReplacer(`\u003e`, ">", `\u003c`, "<").Replace(s.log.String()), line) {
			t.Errorf("got a journal without %s", line)
		}
	}
	if strings.Contains(s.log.String(), "leading dot") {
		t.Error("got the content in the journal")
	}
}

func TestConnector_ReturnsARelayDenial(t *testing.T) {
	s := newSite(t, nil, func(c *Config) { c.Identity = nil })
	result, err := s.deliver(message("1"))
	if err != nil || result.Accepted || result.Replies[0].Code != 550 || result.Replies[0].Status.Detail != 64 {
		t.Errorf("got %+v, %v", result, err)
	}
	if c := result.Connection; !c.Requested || c.Shown != "" || c.Certificate() != "it asked for our certificate, and there is none" {
		t.Errorf("got connection %+v", c)
	}
}

func TestHosts_RejectsAForeignMX(t *testing.T) {
	s := newSite(t, nil, func(c *Config) {
		c.Host, c.Domain, c.Resolver = "", "contoso.com", resolver{mx: []string{"mx.filter.example"}}
	})
	_, err := s.deliver(message("1"))
	u := (*upstream.Unavailable)(nil)
	if !errors.As(err, &u) || !strings.HasPrefix(u.ClientReply().String(), `451 4.3.5 the MX of contoso.com is "mx.filter.example", not an Exchange Online host: set upstream.connector.host`) {
		t.Errorf("got %v", err)
	}
}

func TestHosts_LooksUpTheMX(t *testing.T) {
	for _, host := range []string{mx, "contoso-com.r-v1.mx.microsoft"} {
		s := newSite(t, func(c *tenant.Config) { c.Certificate = must(authority().IssueP256(nil, host)) },
			func(c *Config) { c.Host, c.Domain, c.Resolver = "", "contoso.com", resolver{mx: []string{host}} })
		result, err := s.deliver(message("1"))
		if err != nil || result.Connection.Host != host {
			t.Errorf("%s: got %+v, %v", host, result, err)
		}
	}
}
