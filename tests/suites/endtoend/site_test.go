// Package endtoend holds the program to its promises on real parts: the built
// sealpost as a process, a software TPM, Postfix, and the mail clients that
// people use. A stand-in plays the tenant only where it has to misbehave.
//
// It knows command lines, SMTP and the journal. It must not look into the
// program's packages.
package endtoend

import (
	"cmp"
	"crypto/tls"
	"flag"
	"fmt"
	"os"
	"path/filepath"
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
)

// program is the sealpost file that all tests run.
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
	// The tests wait for servers and for timers most of the time.
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

// authority vouches for relays and servers alike.
var authority = sync.OnceValue(func() *parts.Authority { return must(parts.NewAuthority("Test CA")) })

// clientCertificate is a P-256 certificate for the relay, with its whole chain.
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

// told is what a site's settings say; what is empty has a value that suits
// most tests.
type told struct {
	host             string // of the upstream; empty means the MX
	port             int    // of the upstream
	listen           string
	allow            string
	protection       string
	limits, upstream string // lines of these sections
	retry, site      string // likewise
	spool            string // size of the ring
	tpm              string // in place of the site's own
	journal          string // lines of this section
	more             string // sections
}

// soon is how often mail is tried again where a test waits for it.
const soon = `first = "1s"
longest = "3s"`

// site is a box with a TPM of its own.
type site struct {
	t     *testing.T
	told  told
	dir   string
	tpm   *parts.Swtpm
	box   *box.Box
	relay *box.Relay
}

// newSite makes a box that was told its settings and nothing else.
func newSite(t *testing.T, settings told) *site {
	t.Helper()
	s := &site{t: t, told: settings, dir: folder(t), tpm: parts.StartSwtpm(t)}
	s.write("ca.pem", authority().PEM())
	s.write("password", []byte(password+"\n"))
	var err error
	if s.box, err = box.New(program, s.dir, s.settings()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.stop)
	return s
}

// relaySite is a box that has imported the certificate and relays.
func relaySite(t *testing.T, settings told, certificate tls.Certificate) *site {
	t.Helper()
	s := newSite(t, settings)
	s.importPFX(certificate)
	s.start()
	return s
}

// folder is a folder with a path short enough for a socket, which other users
// may enter, as Postfix's do.
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
	told := s.told
	return fmt.Sprintf(`[site]
%s

[lan]
smtp = [%q]
smtps = []
allow = [%q]
hostname = "relay.contoso.com"

[limits]
%s

[senders]
accepted_domains = ["contoso.com"]

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
`, told.site, cmp.Or(told.listen, "127.0.0.1:0"), cmp.Or(told.allow, "127.0.0.0/8"), cmp.Or(told.limits, "connections_per_client = 50"), told.upstream,
		told.host, cmp.Or(told.port, 25), s.path("ca.pem"),
		cmp.Or(told.retry, soon), cmp.Or(told.tpm, s.tpm.Address()), cmp.Or(told.protection, "tpm"), cmp.Or(told.spool, "8MiB"),
		told.journal, told.more)
}

func (s *site) path(name string) string { return filepath.Join(s.dir, name) }

func (s *site) write(name string, data []byte) {
	s.t.Helper()
	if err := os.WriteFile(s.path(name), data, 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// run carries out a command of the program, whatever it says.
func (s *site) run(args ...string) box.Result {
	s.t.Helper()
	result, err := s.box.Run(args...)
	if err != nil {
		s.t.Fatal(err)
	}
	return result
}

// importPFX imports a certificate as a technician does, and gives what the
// command printed.
func (s *site) importPFX(certificate tls.Certificate) string {
	s.t.Helper()
	pfx, err := parts.PFX(certificate, password)
	if err != nil {
		s.t.Fatal(err)
	}
	s.write("relay.pfx", pfx)
	result := s.run("certificate", "import", "--pfx", "relay.pfx", "--password-file", "password")
	if result.Status != 0 {
		s.t.Fatalf("the import ended with %d: %s", result.Status, result.Err)
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
	s.told.port = port
	s.configure()
	s.start()
}

// configure writes the settings as they are to be told now.
func (s *site) configure() {
	s.t.Helper()
	if err := s.box.Configure(s.settings()); err != nil {
		s.t.Fatal(err)
	}
}

// stop ends the relay, which has to end well.
func (s *site) stop() {
	s.t.Helper()
	if s.relay == nil || !s.relay.Running() {
		return
	}
	if err := s.relay.Stop(); err != nil {
		s.t.Error(err)
	}
}

// address is where the relay listens.
func (s *site) address() string {
	s.t.Helper()
	return s.events("listening", 1)[0]["address"].(string)
}

// events waits until the journal has n events of that name, and gives them.
func (s *site) events(name string, n int) []box.Event {
	s.t.Helper()
	const timeout = 20 * time.Second
	for deadline := time.Now().Add(timeout); ; time.Sleep(5 * time.Millisecond) {
		events := s.relay.Log.Events(name)
		if len(events) >= n {
			return events
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("the journal has %d of %d events %q:\n%s", len(events), n, name, s.relay.Log)
		}
	}
}

// startPostfix starts a Postfix that relays for these clients.
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

// tenantConfig is a tenant that relays for the relay's certificate.
func tenantConfig(t *testing.T) tenant.Config {
	t.Helper()
	return tenant.Config{Certificate: serverCertificate(t), ClientCAs: authority().Pool(),
		AcceptedDomains: []string{"contoso.com"}, Connector: relayName}
}

func startTenant(t *testing.T, config tenant.Config) *tenant.Tenant {
	t.Helper()
	standIn, err := tenant.Start(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(standIn.Close)
	return standIn
}

func serverCertificate(t *testing.T) tls.Certificate {
	t.Helper()
	certificate, err := authority().IssueP256(nil, "localhost")
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}
