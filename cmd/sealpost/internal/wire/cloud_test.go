package wire

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"sealpost/provisioning/settings"
	"sealpost/relay/envelope"
	"sealpost/relay/journal"
	"sealpost/relay/oauth"
	"sealpost/relay/reply"
	"sealpost/relay/upstream"
	"sealpost/relay/upstream/submission"
)

// nameServer has one MX record and no addresses, and records the names in queries.
type nameServer struct {
	address string
	mx      string
	mu      sync.Mutex
	names   []string
}

func newNameServer(t *testing.T, mx string) *nameServer {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &nameServer{address: conn.LocalAddr().String(), mx: mx}
	done := make(chan struct{})
	t.Cleanup(func() { conn.Close(); <-done })
	go func() {
		defer close(done)
		for buffer := make([]byte, 512); ; {
			n, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buffer[:n]) != nil || len(m.Questions) == 0 {
				continue
			}
			if response, err := s.respond(m); err == nil {
				_, _ = conn.WriteTo(response, from)
			}
		}
	}()
	return s
}

func (s *nameServer) respond(m dnsmessage.Message) ([]byte, error) {
	question := m.Questions[0]
	s.mu.Lock()
	s.names = append(s.names, strings.TrimSuffix(question.Name.String(), "."))
	s.mu.Unlock()
	m.Response, m.RCode, m.Additionals = true, dnsmessage.RCodeNameError, nil
	if question.Type == dnsmessage.TypeMX {
		m.RCode = dnsmessage.RCodeSuccess
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: question.Name, Type: dnsmessage.TypeMX, Class: dnsmessage.ClassINET, TTL: 60},
			Body:   &dnsmessage.MXResource{MX: dnsmessage.MustNewName(s.mx + ".")},
		}}
	}
	return m.Pack()
}

func (s *nameServer) wasAsked(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.names, name)
}

type fixedToken struct{}

func (fixedToken) Token(context.Context) (submission.Token, error) { return "", nil }
func (fixedToken) Reject(submission.Token)                         {}

type noMessage struct{}

func (noMessage) Open() io.Reader { return &bytes.Reader{} }
func (noMessage) Size() int64     { return 0 }

// box opens a box with a state and settings of its own.
func box(t *testing.T, text string) *Box {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "sealpost.toml")
	text += fmt.Sprintf("[lan]\nhostname = \"relay.contoso.com\"\n[keys]\nprotection = \"file\"\n[spool]\nsize = \"8MiB\"\n[limits]\nmessage_size = \"1MiB\"\n[state]\npath = %q\n", filepath.Join(dir, "box.state"))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := Options{Config: path}.Open(AnyState)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// Every request of the box goes to the tenant's cloud.
func TestCloud_IsWhereTheBoxLooks(t *testing.T) {
	message := envelope.Envelope{ID: "1", Sender: "relay@contoso.com", Recipients: []envelope.Address{"you@contoso.com"}}
	never := upstream.Transactions{ShouldSend: func([]reply.Reply) bool { return false }}
	for _, cloud := range settings.Clouds {
		t.Run(string(cloud), func(t *testing.T) {
			services := cloud.Services()
			server := newNameServer(t, "contoso-com"+services.MailHosts[0])
			upstream := fmt.Sprintf("[upstream]\ncloud = %q\ndns = [%q]\n", cloud, server.address)

			b := box(t, upstream+"method = \"submission\"\n[upstream.submission]\nuser = \"relay@contoso.com\"\n[upstream.oauth]\nclient_id = \"8b2f1c6e-0d3a-4a55-9b1f-2f0c7f1f9a10\"\n")
			issuer, err := b.Issuer()
			if err != nil {
				t.Fatal(err)
			}
			grant, err := issuer.ClientSecret(oauth.NewSecret("secret"))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := grant.Token(t.Context()); err == nil || !strings.Contains(err.Error(), services.Authority) {
				t.Errorf("token: got %v, want an error with %q", err, services.Authority)
			}
			sub, err := b.Submission(fixedToken{}, journal.Discard())
			if err != nil {
				t.Fatal(err)
			}
			defer sub.Close()
			if _, err := sub.Deliver(t.Context(), message, noMessage{}, never); err == nil || !strings.Contains(err.Error(), string(services.Submission)) {
				t.Errorf("submission: got %v, want an error with %q", err, string(services.Submission))
			}

			b = box(t, upstream+"[senders]\naccepted_domains = [\"contoso.com\"]\n")
			route, err := b.Route(t.Context(), settings.MethodConnector, journal.Discard())
			if err != nil {
				t.Fatal(err)
			}
			defer route.Close()
			if _, err := route.Upstream.Deliver(t.Context(), message, noMessage{}, never); err == nil || !strings.Contains(err.Error(), server.mx) {
				t.Errorf("connector: got %v, want an error with %q", err, server.mx)
			}
			for _, name := range []string{services.Authority, string(services.Submission), "contoso.com", server.mx} {
				if !server.wasAsked(name) {
					t.Errorf("%s was not looked up: %q", name, server.names)
				}
			}
		})
	}
}

func TestCloud_RejectsTheMXOfAnother(t *testing.T) {
	server := newNameServer(t, "contoso-com.mail.protection.outlook.com")
	b := box(t, fmt.Sprintf("[upstream]\ncloud = \"china\"\ndns = [%q]\n[senders]\naccepted_domains = [\"contoso.com\"]\n", server.address))
	route, err := b.Route(t.Context(), settings.MethodConnector, journal.Discard())
	if err != nil {
		t.Fatal(err)
	}
	defer route.Close()
	message := envelope.Envelope{ID: "1", Sender: "relay@contoso.com", Recipients: []envelope.Address{"you@contoso.com"}}
	if _, err := route.Upstream.Deliver(t.Context(), message, noMessage{}, upstream.Transactions{ShouldSend: func([]reply.Reply) bool { return false }}); err == nil || !strings.Contains(err.Error(), "or upstream.cloud to the tenant's cloud") {
		t.Errorf("got %v, want an error with %q", err, "or upstream.cloud to the tenant's cloud")
	}
}
