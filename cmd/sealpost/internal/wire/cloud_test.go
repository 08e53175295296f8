package wire

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"sealpost/provisioning/settings"
	"sealpost/relay/envelope"
	"sealpost/relay/journal"
	"sealpost/relay/oauth"
	"sealpost/relay/reply"
	"sealpost/relay/upstream"
	"sealpost/relay/upstream/submission"
	"sealpost/tests/rigs/parts"
)

// newNameServer starts a name server with the mail host of contoso.com.
func newNameServer(t *testing.T, mx string) *parts.NameServer {
	t.Helper()
	server := parts.StartNameServer(t)
	server.Add("contoso.com.", dnsmessage.TypeMX, &dnsmessage.MXResource{MX: dnsmessage.MustNewName(mx + ".")})
	return server
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
			mx := "contoso-com" + services.MailHosts[0]
			server := newNameServer(t, mx)
			upstream := fmt.Sprintf("[upstream]\ncloud = %q\ndns = [%q]\n", cloud, server.Address())

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
			if _, err := route.Upstream.Deliver(t.Context(), message, noMessage{}, never); err == nil || !strings.Contains(err.Error(), mx) {
				t.Errorf("connector: got %v, want an error with %q", err, mx)
			}
			for _, name := range []string{services.Authority, string(services.Submission), "contoso.com", mx} {
				if asked := server.Asked(); !slices.Contains(asked, name) {
					t.Errorf("%s was not looked up: %q", name, asked)
				}
			}
		})
	}
}

func TestCloud_RejectsTheMXOfAnother(t *testing.T) {
	server := newNameServer(t, "contoso-com.mail.protection.outlook.com")
	b := box(t, fmt.Sprintf("[upstream]\ncloud = \"china\"\ndns = [%q]\n[senders]\naccepted_domains = [\"contoso.com\"]\n", server.Address()))
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
