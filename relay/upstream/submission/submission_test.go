package submission

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sealpost/relay/envelope"
	"sealpost/relay/journal"
	"sealpost/relay/reply"
	"sealpost/relay/report"
	"sealpost/relay/upstream"
	"sealpost/relay/upstream/transport"
	"sealpost/tests/rigs/parts"
	"sealpost/tests/rigs/tenant"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	host    = "smtp.office365.com"
	printer = "printer@contoso.com"
)

type resolver struct{}

func (resolver) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
}

type content string

func (c content) Open() io.Reader { return strings.NewReader(string(c)) }
func (c content) Size() int64     { return int64(len(c)) }

// fakeTokens issues a token until it is rejected.
type fakeTokens struct {
	mu      sync.Mutex
	current Token
	issued  int
	err     error
}

func (f *fakeTokens) Token(context.Context) (Token, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return "", f.err
	}
	if f.current == "" {
		f.issued++
		f.current = Token(fmt.Sprintf("very-secret-token-%d", f.issued))
	}
	return f.current, nil
}

func (f *fakeTokens) Reject(token Token) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.current == token {
		f.current = ""
	}
}

// site is a fake tenant, a submission client for it, and its journal.
type site struct {
	tenant     *tenant.Tenant
	submission *Submission
	tokens     *fakeTokens
	log        *buffer
}

// buffer is a log that can be read concurrently.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

var authority = sync.OnceValue(func() *parts.Authority { return must(parts.NewAuthority("Test CA")) })

// acceptLogin accepts every login.
func acceptLogin(_, _ string) string { return "" }

func newSite(t *testing.T, changeTenant func(*tenant.Config), change func(*Config)) *site {
	t.Helper()
	tc := tenant.Config{
		Certificate: must(authority().IssueP256(nil, host)),
		Submission:  &tenant.Submission{CheckLogin: acceptLogin},
	}
	if changeTenant != nil {
		changeTenant(&tc)
	}
	s := &site{tenant: must(tenant.Start(tc)), tokens: &fakeTokens{}, log: &buffer{}}
	t.Cleanup(s.tenant.Close)
	config := Config{
		Hello: "relay.contoso.com", Host: host, Port: s.tenant.Address().Port, Roots: authority().Pool(),
		Connections: 6, ReplyTimeout: 5 * time.Second, Resolver: resolver{}, Tokens: s.tokens,
		User: func(envelope.Address) envelope.Address { return printer },
	}
	if change != nil {
		change(&config)
	}
	s.submission = New(config, journal.New(journal.JSON(s.log, true)))
	t.Cleanup(s.submission.Close)
	return s
}

const scan content = "From: \"Hall\" <" + printer + ">\r\nSubject: scan\r\n\r\n.leading dot\r\nend\r\n"

func message(id string, sender envelope.Address) envelope.Envelope {
	return envelope.Envelope{ID: id, Sender: sender, Recipients: []envelope.Address{"alice@fabrikam.example"}, Size: scan.Size()}
}

func someAccepted(replies []reply.Reply) bool {
	return slices.ContainsFunc(replies, reply.Reply.Positive)
}

func (s *site) deliver(e envelope.Envelope, text content) (upstream.Result, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Second)
	defer cancel()
	return s.submission.Deliver(ctx, e, text, upstream.Transactions{ShouldSend: someAccepted})
}

// secrets returns the tokens in a text, plain or in base64.
func secrets(text string) []string {
	var found []string
	for _, secret := range []string{"secret-token", base64.StdEncoding.EncodeToString([]byte("user=" + printer + "\x01auth"))[:30]} {
		if strings.Contains(text, secret) {
			found = append(found, secret)
		}
	}
	return found
}

func TestSubmission_LogsInAsTheMailbox(t *testing.T) {
	for name, c := range map[string]struct {
		tenant    func(*tenant.Config)
		config    func(*Config)
		mechanism string
	}{
		"XOAUTH2":     {nil, nil, "XOAUTH2"},
		"OAUTHBEARER": {func(c *tenant.Config) { c.Submission.Mechanisms = []string{"PLAIN", "OAUTHBEARER"} }, nil, "OAUTHBEARER"},
		"both":        {func(c *tenant.Config) { c.Submission.Mechanisms = []string{"OAUTHBEARER", "XOAUTH2"} }, nil, "XOAUTH2"},
		"port 465":    {func(c *tenant.Config) { c.TLSFirst = true }, func(c *Config) { c.Security = transport.ImplicitTLS }, "XOAUTH2"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, c.tenant, c.config)
			for range 2 {
				result, err := s.deliver(message("1", printer), scan)
				if err != nil || !result.Accepted || result.Trustee != printer {
					t.Fatalf("got %+v, %v", result, err)
				}
				if r := result.Connection; r.Account != printer || r.Mechanism != c.mechanism || !strings.HasPrefix(r.TLS, "TLS 1.") || r.Shown != "" {
					t.Errorf("got record %+v", r)
				}
			}
			logins := s.tenant.Logins()
			if len(logins) != 1 || logins[0] != (tenant.Login{Mechanism: c.mechanism, User: printer, Token: "very-secret-token-1"}) || s.tokens.issued != 1 {
				t.Errorf("got logins %+v", logins)
			}
			if got := s.tenant.Messages(); len(got) != 2 || got[0].User != printer || string(got[0].Content) != string(scan) {
				t.Errorf("got messages %+v, want 2 of %s", got, printer)
			}
			if clear := s.tenant.Plaintext(); strings.Contains(clear, "AUTH") {
				t.Errorf("got %q in clear text, want no AUTH", clear)
			}
			if found := secrets(s.log.String()); found != nil || !strings.Contains(s.log.String(), "> AUTH "+c.mechanism+" [redacted]") {
				t.Errorf("got secrets %q in the journal, want AUTH redacted:\n%s", found, s.log)
			}
		})
	}
}

func TestSubmission_SeparatesConnectionsByMailbox(t *testing.T) {
	const ups = "ups@contoso.com"
	s := newSite(t, nil, func(c *Config) {
		c.Connections = 4
		c.User = func(sender envelope.Address) envelope.Address {
			if sender == ups {
				return ups
			}
			return printer
		}
	})
	s.tenant.SetScript(func(verb, _ string) string {
		if verb == "CONTENT" {
			time.Sleep(20 * time.Millisecond)
		}
		return ""
	})
	var burst sync.WaitGroup
	for i := range 30 {
		sender := envelope.Address([]string{ups, printer, printer}[i%3])
		burst.Go(func() {
			text := content(strings.ReplaceAll(string(scan), printer, string(sender)))
			result, err := s.deliver(message(fmt.Sprint(i), sender), text)
			if err != nil || !result.Accepted || result.Connection.Account != string(sender) {
				t.Errorf("%s: got %+v, %v, want accepted for the sender's mailbox", sender, result, err)
			}
		})
	}
	burst.Wait()
	if got := s.submission.Account(message("1", ups)); got != ups {
		t.Errorf("got mailbox %s, want %s", got, ups)
	}
	if maxOpen := s.tenant.MostOpen(); maxOpen > 4 || s.tokens.issued != 1 {
		t.Errorf("got %d connections at once and %d tokens, want at most 4 and 1 token", maxOpen, s.tokens.issued)
	}
}

func TestSubmission_LimitsConnectionsPerMailbox(t *testing.T) {
	s := newSite(t, func(c *tenant.Config) { c.Submission.Connections = 3 }, nil)
	s.tenant.SetScript(func(verb, _ string) string {
		if verb == "CONTENT" {
			time.Sleep(20 * time.Millisecond)
		}
		return ""
	})
	var burst sync.WaitGroup
	for i := range 30 {
		burst.Go(func() {
			if result, err := s.deliver(message(fmt.Sprint(i), printer), scan); err != nil || !result.Accepted {
				t.Errorf("message %d: got %+v, %v, want accepted", i, result, err)
			}
		})
	}
	burst.Wait()
	if maxOpen := s.tenant.MostOpen(); maxOpen != 3 || len(s.tenant.LimitReplies()) != 0 {
		t.Errorf("got %d connections at once and denials %v, want 3 and none", maxOpen, s.tenant.LimitReplies())
	}
}

func TestSubmission_ClosesAnExcessConnection(t *testing.T) {
	s := newSite(t, nil, nil)
	s.tenant.SetScript(func(verb, _ string) string {
		if verb == "MAIL" {
			return "432 4.3.2 Concurrent connections limit exceeded"
		}
		return ""
	})
	for n := range 2 {
		result, err := s.deliver(message("1", printer), scan)
		if err != nil || result.Accepted || result.Replies[0].Code != 432 {
			t.Errorf("got %+v, %v, want reply 432", result, err)
		}
		if got := s.tenant.Connections(); got != n+1 {
			t.Errorf("got %d connections after %d messages, want one each", got, n+1)
		}
	}
}

func TestSubmission_ReportsTheDailyLimit(t *testing.T) {
	s := newSite(t, func(c *tenant.Config) { c.Submission.PerDay = 1 }, nil)
	for n, accepted := range []bool{true, false} {
		result, err := s.deliver(message(fmt.Sprint(n), printer), scan)
		if err != nil || result.Accepted != accepted {
			t.Fatalf("message %d: got %+v, %v, want accepted %t", n, result, err, accepted)
		}
		if class, _ := report.Classify(result.Replies[0]); !accepted && class.Kind != report.WaitReset {
			t.Errorf("%s: got classification %+v, want WaitReset", result.Replies[0], class)
		}
	}
}

func TestToken_IsRedactedWhenPrinted(t *testing.T) {
	token := Token("very-secret-token")
	text := fmt.Sprintf("%v %s %q %x %#v %+v %d", token, token, token, token, token, []Token{token}, token) + token.LogValue().String() + string(must(token.MarshalText()))
	if found := secrets(text); found != nil || strings.Contains(text, "76657279") {
		t.Errorf("got %s, want no part of the token", text)
	}
}

func unavailable(t *testing.T, err error) *upstream.Unavailable {
	t.Helper()
	u := (*upstream.Unavailable)(nil)
	if !errors.As(err, &u) {
		t.Fatalf("got %v", err)
	}
	if found := secrets(err.Error()); found != nil {
		t.Errorf("got secrets %q in the error: %v", found, err)
	}
	return u
}
