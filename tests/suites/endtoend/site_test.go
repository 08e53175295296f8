// Package endtoend tests the built program as a process with a software TPM,
// Postfix, and common mail clients. A mock tenant is used only where the tenant must
// misbehave.
//
// It knows command lines, SMTP and the journal. It must not import the program's
// packages.
package endtoend

import (
	"cmp"
	"crypto/tls"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"sealpost/tests/rigs/box"
	"sealpost/tests/rigs/parts"
	"sealpost/tests/rigs/tenant"
)

const (
	relayName = "relay.contoso.com" // in the client certificate
	password  = "correct horse battery"
	sender    = "printer@contoso.com"
	recipient = "alice@fabrikam.example"

	recipientDomain = "fabrikam.example"
	recipientHost   = "mx.fabrikam.example"
)

// program is the path of the sealpost binary that all tests run.
var program string

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "sealpost")
	if err == nil {
		defer os.RemoveAll(dir)
		program, err = box.Build(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	// The tests mostly wait for servers and timers.
	flag.Parse()
	if err := flag.Set("test.parallel", "4"); err != nil {
		panic(err)
	}
	return m.Run()
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// authority signs the certificates of relays and servers.
var authority = sync.OnceValue(func() *parts.Authority { return must(parts.NewAuthority("Test CA")) })

// clientCertificate returns a P-256 certificate for the relay with its full chain.
func clientCertificate(t *testing.T, from *parts.Authority) tls.Certificate {
	t.Helper()
	certificate, err := from.IssueP256(nil, relayName)
	if err != nil {
		t.Fatal(err)
	}
	return withRoot(certificate, from)
}

func withRoot(certificate tls.Certificate, root *parts.Authority) tls.Certificate {
	certificate.Certificate = append(certificate.Certificate, root.Certificate.Raw)
	return certificate
}

// siteConfig changes the settings of a site. A zero value means a default that suits
// most tests.
type siteConfig struct {
	host             string // of the upstream; empty means the MX
	port             int    // of the upstream
	listen, smtps    string
	allow            string
	protection       string
	limits, upstream string // lines of these sections
	retry, site      string // lines of these sections
	spool            string // size of the ring
	tpm              string // instead of the site's own
	journal          string // lines of this section
	domains          string // accepted domains, such as `"contoso.com"`
	lan, senders     string // further lines of these sections
	more             string // further sections
}

// shortRetry is the retry schedule for tests that wait for a retry.
const shortRetry = `first = "1s"
longest = "3s"`

// site is a box with a TPM of its own.
type site struct {
	t      *testing.T
	config siteConfig
	dir    string
	tpm    *parts.Swtpm
	box    *box.Box
	relay  *box.Relay
}

// newSite returns a box that has settings and no certificate.
func newSite(t *testing.T, settings siteConfig) *site {
	t.Helper()
	s := &site{t: t, config: settings, dir: folder(t), tpm: parts.StartSwtpm(t)}
	s.write("ca.pem", authority().PEM())
	s.write("password", []byte(password+"\n"))
	var err error
	if s.box, err = box.New(program, s.dir, s.settings()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.stop)
	return s
}

// relaySite returns a box with this certificate and a running relay.
func relaySite(t *testing.T, settings siteConfig, certificate tls.Certificate) *site {
	t.Helper()
	s := newSite(t, settings)
	s.importPFX(certificate)
	s.start()
	return s
}

// folder returns a temporary folder whose path is short enough for a socket and which
// other users, such as postfix, may enter.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "site")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func (s *site) settings() string {
	c := s.config
	return fmt.Sprintf(`[site]
%s

[lan]
smtp = [%q]
smtps = [%s]
allow = [%q]
hostname = "relay.contoso.com"
%s

[limits]
%s

[senders]
accepted_domains = [%s]
%s

[upstream]
%s

[upstream.connector]
host = %q
port = %d
ca_file = %q

[retry]
%s

[keys]
tpm = %q
protection = %q

[spool]
size = %q

[state]
path = "STATE"

[journal]
format = "json"
%s

%s
`, c.site, cmp.Or(c.listen, "127.0.0.1:0"), quoted(c.smtps), cmp.Or(c.allow, "127.0.0.0/8"), c.lan, cmp.Or(c.limits, "connections_per_client = 50"), cmp.Or(c.domains, `"contoso.com"`), c.senders, c.upstream,
		c.host, cmp.Or(c.port, 25), s.path("ca.pem"),
		cmp.Or(c.retry, shortRetry), cmp.Or(c.tpm, s.tpm.Address()), cmp.Or(c.protection, "tpm"), cmp.Or(c.spool, "8MiB"),
		c.journal, c.more)
}

// quoted returns text as a TOML string, or nothing if it is empty.
func quoted(text string) string {
	if text == "" {
		return ""
	}
	return strconv.Quote(text)
}

func (s *site) path(name string) string { return filepath.Join(s.dir, name) }

func (s *site) write(name string, data []byte) {
	s.t.Helper()
	if err := os.WriteFile(s.path(name), data, 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// run runs a command of the program and returns its result, whatever the status.
func (s *site) run(args ...string) box.Result {
	s.t.Helper()
	result, err := s.box.Run(args...)
	if err != nil {
		s.t.Fatal(err)
	}
	return result
}

// importPFX imports a certificate as a technician does, and returns the output.
func (s *site) importPFX(certificate tls.Certificate) string {
	s.t.Helper()
	pfx, err := parts.PFX(certificate, password)
	if err != nil {
		s.t.Fatal(err)
	}
	s.write("relay.pfx", pfx)
	result := s.run("certificate", "import", "--pfx", "relay.pfx", "--password-file", "password")
	if result.Status != 0 {
		s.t.Fatalf("import: got status %d, want 0: %s", result.Status, result.Err)
	}
	return result.Out
}

func (s *site) start() {
	s.t.Helper()
	var err error
	if s.relay, err = s.box.StartRelay(); err != nil {
		s.t.Fatal(err)
	}
}

// relayTo restarts the relay with another upstream port.
func (s *site) relayTo(port int) {
	s.t.Helper()
	s.stop()
	s.config.port = port
	s.configure()
	s.start()
}

// configure writes the current settings.
func (s *site) configure() {
	s.t.Helper()
	if err := s.box.Configure(s.settings()); err != nil {
		s.t.Fatal(err)
	}
}

// stop stops the relay, which must exit with status 0.
func (s *site) stop() {
	s.t.Helper()
	if s.relay == nil || !s.relay.Running() {
		return
	}
	if err := s.relay.Stop(); err != nil {
		s.t.Error(err)
	}
}

// address returns the address that the relay listens on.
func (s *site) address() string {
	s.t.Helper()
	return s.events("listening", 1)[0]["address"].(string)
}

// events waits until the journal has n events of that name, and returns them.
func (s *site) events(name string, n int) []box.Event {
	s.t.Helper()
	const timeout = time.Minute
	for deadline := time.Now().Add(timeout); ; time.Sleep(5 * time.Millisecond) {
		events := s.relay.Log.Events(name)
		if len(events) >= n {
			return events
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("got %d events, want %d of %q:\n%s", len(events), n, name, s.relay.Log)
		}
	}
}

// startPostfix starts a Postfix that relays for the clients in config.
func startPostfix(t *testing.T, config parts.PostfixConfig) *parts.Postfix {
	t.Helper()
	if config.Certificate.Leaf == nil {
		config.Certificate = serverCertificate(t)
	}
	config.ClientCA = authority().Certificate
	postfix, err := parts.NewPostfix(folder(t), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := postfix.Close(); err != nil {
			t.Error(err)
		}
	})
	return postfix
}

// tenantConfig returns a tenant that accepts the relay's certificate.
func tenantConfig(t *testing.T) tenant.Config {
	t.Helper()
	return tenant.Config{Certificate: serverCertificate(t), ClientCAs: authority().Pool(),
		AcceptedDomains: []string{"contoso.com"}, Connector: relayName}
}

func startTenant(t *testing.T, config tenant.Config) *tenant.Tenant {
	t.Helper()
	mockTenant, err := tenant.Start(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(mockTenant.Close)
	return mockTenant
}

func serverCertificate(t *testing.T) tls.Certificate {
	t.Helper()
	certificate, err := authority().IssueP256(nil, "localhost")
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}
