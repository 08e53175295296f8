// Package storage tests what the box stores: its power is cut repeatedly, and its
// flash fails or is slow. No message with reply 250 may be lost.
package storage

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"sealpost/tests/rigs/lab"
	"sealpost/tests/rigs/load"
	"sealpost/tests/rigs/machine"
	"sealpost/tests/rigs/parts"
	"sealpost/tests/rigs/site"
	"sealpost/tests/rigs/tenant"
)

func TestMain(m *testing.M) { lab.Main(m) }

// cuts returns the number of power cuts. The environment variable CUTS, which make
// soak sets, overrides it.
func cuts() int {
	n, err := strconv.Atoi(os.Getenv("CUTS"))
	if err != nil {
		return 8
	}
	return n
}

// configuration is one of the two that the test applies in turn. The certificate that
// the tenant gets and a listener that only one of them has show which is active.
type configuration struct {
	name  string
	ports string
	pfx   []byte
}

// connectorName is a name in the certificates of both.
const connectorName = "box." + site.Domain

// secondPort is a port on which only the second configuration listens.
const secondPort = 2525

// flakySite is a site whose tenant can reject mail, with two configurations for a box.
type flakySite struct {
	*site.Site
	tenant         *tenant.Tenant
	configurations [2]configuration
}

func openFlakySite(t *testing.T) *flakySite {
	t.Helper()
	s := &flakySite{Site: lab.StartSite(t)}
	server, err := s.Authority.IssueP256(nil, site.MailHost)
	if err != nil {
		t.Fatal(err)
	}
	s.tenant, err = tenant.Start(tenant.Config{Certificate: server, ClientCAs: s.Authority.Pool(),
		AcceptedDomains: []string{site.Domain}, Connector: connectorName})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.tenant.Close)
	for i, ports := range []string{`[":25"]`, fmt.Sprintf(`[":25", ":%d"]`, secondPort)} {
		s.configurations[i] = s.newConfiguration(t, fmt.Sprintf("relay-%d.%s", i, site.Domain), ports)
	}
	return s
}

func (s *flakySite) newConfiguration(t *testing.T, name, ports string) configuration {
	t.Helper()
	certificate, err := s.Authority.IssueP256(nil, name, connectorName)
	if err != nil {
		t.Fatal(err)
	}
	certificate.Certificate = append(certificate.Certificate, s.Authority.Certificate.Raw)
	c := configuration{name: name, ports: ports}
	if c.pfx, err = parts.PFX(certificate, s.Password); err != nil {
		t.Fatal(err)
	}
	return c
}

// settings returns the settings of a configuration. Each turn has a different text,
// because the box ignores a stick that it has applied before.
func (s *flakySite) settings(c configuration, turn int) string {
	return fmt.Sprintf("[site]\nname = \"turn %d\"\n[lan]\nsmtp = %s\nsmtps = []\nhostname = \"relay.%s\"\n", turn, c.ports, site.Domain) +
		fmt.Sprintf("[senders]\naccepted_domains = [%q]\n[retry]\nfirst = \"300ms\"\nlongest = \"2s\"\n", site.Domain) +
		fmt.Sprintf("[upstream]\nhold = \"300ms\"\n[upstream.connector]\nhost = %q\nport = %d\nca = \"\"\"\n%s\"\"\"\n",
			site.MailHost, s.tenant.Address().Port, parts.PEM(s.Authority.Certificate.Raw))
}

// initialCandidate returns the first configuration of a box.
func (s *flakySite) initialCandidate() lab.Candidate {
	return lab.Candidate{Settings: s.settings(s.configurations[0], 0), PFX: s.configurations[0].pfx, Password: s.Password}
}

// activeConfiguration returns the index of the configuration of a running box.
func activeConfiguration(b *lab.Box) int {
	conn, err := net.Dial("tcp", b.Address(secondPort))
	if err != nil {
		return 0
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	n, _ := conn.Read(make([]byte, 4))
	return min(n, 1)
}

// TestPowerCut_LosesNothingAnswered250 cuts the power at random moments: while the
// box starts, under load with a misbehaving tenant, while a stick is applied, and
// after that.
func TestPowerCut_LosesNothingAnswered250(t *testing.T) {
	s, b := openFlakySite(t), lab.New(t)
	b.SetUp(t, s.initialCandidate())
	b.Ports = []int{25, secondPort}
	b.SwitchOn(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var wg sync.WaitGroup
	devices := load.NewTracker()
	const clients = 4
	for client := range clients {
		wg.Go(func() { devices.Load(ctx, client, b.Address(25), "") })
	}
	wg.Go(func() { load.Flap(ctx, s.tenant) })
	longest := time.Duration(0)
	b.AwaitBanner(t)
	for turn, running := 0, true; turn < cuts(); turn++ {
		if running {
			s.runTurn(t, b, turn+1, devices)
		} else {
			time.Sleep(rand.N(3 * time.Second)) // cut during the start
		}
		if err := b.Cut(); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if err := b.PowerOn(); err != nil {
			t.Fatal(err)
		}
		if running = rand.N(4) > 0; running {
			b.AwaitBanner(t)
			longest = max(longest, time.Since(start))
		}
	}
	b.AwaitBanner(t)
	s.checkConsistent(t, b)
	stop()
	wg.Wait()
	s.tenant.SetScript(nil)
	devices.Await(s.tenant, machine.WaitLimit)
	if t.Failed() || !devices.Await(s.tenant, time.Second) {
		terminal := b.PlugIn(t)
		t.Log(terminal.Play("send\nexpect Menu:\nsend 3\nexpect Menu:\nsend 2\nexpect Menu:\n"), terminal.Transcript())
	}
	devices.Check(t, s.tenant)
	t.Logf("%d power cuts; the longest wait for the banner was %.1f s; operations on the flash: %+v", cuts(), longest.Seconds(), b.Flash.Flash.Counts())
}

// runTurn lets a running box accept some messages. In every third turn it inserts a
// stick with the other configuration.
func (s *flakySite) runTurn(t *testing.T, b *lab.Box, turn int, devices *load.Tracker) {
	t.Helper()
	const underLoad = 5
	devices.AwaitAnswered(t, underLoad)
	if turn%3 != 0 {
		time.Sleep(rand.N(time.Second))
		return
	}
	s.checkConsistent(t, b)
	c := s.configurations[1-activeConfiguration(b)]
	stick := lab.NewStick(t, map[string]string{
		"sealpost/sealpost.toml": s.settings(c, turn), "sealpost/own.pfx": string(c.pfx), "sealpost/password.txt": s.Password})
	if err := b.Insert(fmt.Sprintf("stick%d", turn), stick.Image); err != nil {
		t.Fatal(err)
	}
	time.Sleep(rand.N(5 * time.Second))
}

// checkConsistent checks that settings and certificate belong to the same
// configuration.
func (s *flakySite) checkConsistent(t *testing.T, b *lab.Box) {
	t.Helper()
	before, name := len(s.tenant.Messages()), ""
	for deadline := time.Now().Add(machine.WaitLimit); name == ""; time.Sleep(50 * time.Millisecond) {
		if now := s.tenant.Messages(); len(now) > before {
			name = now[len(now)-1].Client.Subject.CommonName
		}
		if time.Now().After(deadline) {
			t.Fatal("got no message within a minute")
		}
	}
	if want := s.configurations[activeConfiguration(b)].name; name != want {
		t.Errorf("got the certificate of %s with the settings of %s", name, want)
	}
}
