package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"sealpost/tests/rigs/parts"
	"sealpost/tests/rigs/tenant"
)

const (
	boxClient = "8b2f1c6e-0d3a-4a55-9b1f-2f0c7f1f9a10"
	boxUser   = "relay@contoso.com"
)

// cloud is a tenant with its token issuer, both on this machine.
type cloud struct {
	tenant *tenant.Tenant
	root   *parts.Authority
	issuer *httptest.Server
	// respond returns the issuer's status and response to a form.
	respond func(path string, form url.Values) (int, any)

	mu       sync.Mutex
	received []url.Values
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// unsignedToken returns an access token in the form of Entra ID's, with an invalid
// signature.
func unsignedToken(claims map[string]any) string {
	part := func(v any) string { return base64.RawURLEncoding.EncodeToString(must(json.Marshal(v))) }
	return part(map[string]any{"alg": "RS256", "typ": "JWT"}) + "." + part(claims) + ".c2lnbmVk"
}

// appOnly returns a token for an application that may send.
func appOnly() string {
	return unsignedToken(map[string]any{"aud": "https://outlook.office365.com", "roles": []string{"SMTP.SendAsApp"}, "appid": boxClient})
}

// tokenBody returns the body of an issuer's response with tokens.
func tokenBody(access, refresh string) map[string]any {
	return map[string]any{"token_type": "Bearer", "expires_in": 3600, "access_token": access, "refresh_token": refresh}
}

func newCloud(t *testing.T) *cloud {
	t.Helper()
	c := &cloud{root: must(parts.NewAuthority("Test CA"))}
	c.respond = func(string, url.Values) (int, any) { return http.StatusOK, tokenBody(appOnly(), "") }
	c.issuer = httptest.NewUnstartedServer(http.HandlerFunc(c.serve))
	c.issuer.TLS = &tls.Config{Certificates: []tls.Certificate{must(c.root.IssueP256(nil, "localhost"))}}
	c.issuer.StartTLS()
	t.Cleanup(c.issuer.Close)
	c.tenant = must(tenant.Start(tenant.Config{
		Certificate: must(c.root.IssueP256(nil, "localhost")),
		Submission:  &tenant.Submission{CheckLogin: func(_, token string) string { return "" }},
	}))
	t.Cleanup(c.tenant.Close)
	return c
}

func (c *cloud) serve(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	c.mu.Lock()
	c.received = append(c.received, r.PostForm)
	respond := c.respond
	c.mu.Unlock()
	status, body := respond(r.URL.Path, r.PostForm)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// forms returns the forms that the issuer has received so far.
func (c *cloud) forms() []url.Values {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]url.Values(nil), c.received...)
}

func (c *cloud) url(path string) string {
	return "https://localhost" + c.issuer.URL[strings.LastIndexByte(c.issuer.URL, ':'):] + path
}

// settings returns the settings of a box that submits to the cloud.
func (c *cloud) settings(oauth string) string {
	ca := "\"\"\"\n" + string(c.root.PEM()) + "\"\"\"\n"
	return fmt.Sprintf(`[lan]
smtp = ["127.0.0.1:0"]
smtps = []
allow = ["127.0.0.0/8"]
hostname = "relay.contoso.com"
[upstream]
method = "submission"
[upstream.submission]
host = "localhost"
port = %d
user = %q
ca = %s
[upstream.oauth]
client_id = %q
token_url = %q
device_url = %q
ca = %s
%s
[keys]
protection = "file"
tpm = "unix:/nowhere/tpm"
[spool]
size = "8MiB"
[state]
path = "box.state"
`, c.tenant.Address().Port, boxUser, ca, boxClient, c.url("/token"), c.url("/device"), ca, oauth)
}

// configure creates a box with the settings in the folder of this process.
func configure(t *testing.T, settings string) {
	t.Helper()
	t.Chdir(t.TempDir())
	if err := os.WriteFile("sealpost.toml", []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
}

// runCommand runs a command line on the configured box.
func runCommand(input string, args ...string) (status int, out, errs string) {
	var stdout, stderr bytes.Buffer
	status = run(context.Background(), args, strings.NewReader(input), &stdout, &stderr)
	return status, stdout.String(), stderr.String()
}

// log is a journal that can be read while it is written.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// await waits until the log contains want, and returns the log from its last
// occurrence on.
func (l *log) await(t *testing.T, want string) string {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if text := l.String(); strings.Contains(text, want) {
			return text[strings.LastIndex(text, want):]
		}
	}
	t.Fatalf("the relay did not log %q:\n%s", want, l)
	return ""
}

// startRelay runs the relay of the configured box until the test ends, and returns its
// address.
func startRelay(t *testing.T, args ...string) (address string, journal *log) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	journal = &log{}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		run(ctx, append([]string{"relay"}, args...), strings.NewReader(""), io.Discard, journal)
	}()
	t.Cleanup(func() { stop(); <-ended })
	journal.await(t, "relay started")
	_, rest, _ := strings.Cut(journal.String(), "event=listening address=")
	address, _, _ = strings.Cut(rest, " ")
	return address, journal
}

// send sends a message, whose author is the mailbox, as a device on this machine does.
func send(address, sender string) error {
	client, err := smtp.Dial(address)
	if err != nil {
		return err
	}
	defer client.Close()
	const text = "From: " + boxUser + "\r\nTo: alerts@msp.example\r\nSubject: scan\r\n\r\nhello\r\n"
	return client.SendMail(sender, []string{"alerts@msp.example"}, strings.NewReader(text))
}
