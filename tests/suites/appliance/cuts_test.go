package appliance

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
	"sealpost/tests/rigs/parts"
	"sealpost/tests/rigs/site"
	"sealpost/tests/rigs/tenant"
)

// cuts is how often the power is cut. CUTS in the environment, which make soak
// sets, asks for more.
func cuts() int {
	n, err := strconv.Atoi(os.Getenv("CUTS"))
	if err != nil {
		return 8
	}
	return n
}

// configuration is one of the two between which a box changes. Two things show
// from outside which one is in force: the certificate that the tenant sees, and
// a listener that only one of them has.
type configuration struct {
	name  string
	ports string
	pfx   []byte
}

// connectorName is in the certificates of both.
const connectorName = "box." + site.Domain

// extra is the port on which only the second configuration listens.
const extra = 2525

// inconstant is a site whose tenant can refuse mail, with the two configurations
// that a box may have there.
type inconstant struct {
	*site.Site
	tenant *tenant.Tenant
	both   [2]configuration
}

func openInconstant(t *testing.T) *inconstant {
	t.Helper()
	s := &inconstant{Site: lab.StartSite(t)}
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
	for i, ports := range []string{`[":25"]`, fmt.Sprintf(`[":25", ":%d"]`, extra)} {
		s.both[i] = s.configuration(t, fmt.Sprintf("relay-%d.%s", i, site.Domain), ports)
	}
	return s
}

func (s *inconstant) configuration(t *testing.T, name, ports string) configuration {
	t.Helper()
	own, err := s.Authority.IssueP256(nil, name, connectorName)
	if err != nil {
		t.Fatal(err)
	}
	own.Certificate = append(own.Certificate, s.Authority.Certificate.Raw)
	c := configuration{name: name, ports: ports}
	if c.pfx, err = parts.PFX(own, s.Password); err != nil {
		t.Fatal(err)
	}
	return c
}

// settings are those of a configuration. The text differs from turn to turn, as
// the box ignores a stick whose files it has applied before.
func (s *inconstant) settings(c configuration, turn int) string {
	return fmt.Sprintf("[site]\nname = \"turn %d\"\n[lan]\nsmtp = %s\nsmtps = []\nhostname = \"relay.%s\"\n", turn, c.ports, site.Domain) +
		fmt.Sprintf("[senders]\naccepted_domains = [%q]\n[retry]\nfirst = \"300ms\"\nlongest = \"2s\"\n", site.Domain) +
		fmt.Sprintf("[upstream]\nhold = \"300ms\"\n[upstream.connector]\nhost = %q\nport = %d\nca = \"\"\"\n%s\"\"\"\n",
			site.MailHost, s.tenant.Address().Port, parts.PEM(s.Authority.Certificate.Raw))
}

// first is the configuration that a box at the site begins with.
func (s *inconstant) first() lab.Candidate {
	return lab.Candidate{Settings: s.settings(s.both[0], 0), PFX: s.both[0].pfx, Password: s.Password}
}

// inForce is the number of the configuration whose settings a running box has.
func inForce(b *lab.Box) int {
	conn, err := net.Dial("tcp", b.Address(extra))
	if err != nil {
		return 0
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	n, _ := conn.Read(make([]byte, 4))
	return min(n, 1)
}

// TestPowerCut_LosesNothingAnswered250 cuts the power at random moments: while
// the box starts, under load with the tenant in any mood, while a stick is being
// applied, and soon after.
func TestPowerCut_LosesNothingAnswered250(t *testing.T) {
	s, b := openInconstant(t), lab.New(t)
	b.SetUp(t, s.first())
	b.Ports = []int{25, extra}
	b.SwitchOn(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var busy sync.WaitGroup
	devices := load.NewTracker()
	const most = 4
	for client := range most {
		busy.Go(func() { devices.Load(ctx, client, b.Address(25), "") })
	}
	busy.Go(func() { load.Flap(ctx, s.tenant) })
	longest := time.Duration(0)
	for turn := range cuts() {
		s.turn(t, b, turn+1)
		if err := b.Cut(); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		if err := b.PowerOn(); err != nil {
			t.Fatal(err)
		}
		if rand.N(4) > 0 { // otherwise the next cut comes during the start
			b.AwaitBanner(t)
			longest = max(longest, time.Since(begun))
		}
	}
	b.AwaitBanner(t)
	s.checkWhole(t, b)
	stop()
	busy.Wait()
	s.tenant.SetScript(nil)
	devices.Await(s.tenant, time.Minute)
	if t.Failed() || !devices.Await(s.tenant, time.Second) {
		terminal := b.PlugIn(t)
		t.Log(terminal.Play("send\nexpect Menu:\nsend 3\nexpect Menu:\nsend 2\nexpect Menu:\n"), terminal.Transcript())
	}
	if answered := devices.Check(t, s.tenant); answered < 5*cuts() {
		t.Errorf("only %d messages were answered 250: the box was hardly under load", answered)
	}
	t.Logf("%d power cuts; the longest wait for the banner was %.1f s; the flash was given %+v", cuts(), longest.Seconds(), b.Flash.Flash.Counts())
}

// turn lets the box run for a random time. In every third turn it plugs in a
// stick with the other configuration.
func (s *inconstant) turn(t *testing.T, b *lab.Box, turn int) {
	t.Helper()
	if turn%3 != 0 {
		time.Sleep(rand.N(3 * time.Second))
		return
	}
	b.AwaitBanner(t)
	s.checkWhole(t, b)
	c := s.both[1-inForce(b)]
	other := lab.NewStick(t, map[string]string{
		"sealpost/sealpost.toml": s.settings(c, turn), "sealpost/own.pfx": string(c.pfx), "sealpost/password.txt": s.Password})
	if err := b.Insert(fmt.Sprintf("stick%d", turn), other.Image); err != nil {
		t.Fatal(err)
	}
	time.Sleep(rand.N(5 * time.Second))
}

// checkWhole checks that settings and certificate belong to one configuration.
func (s *inconstant) checkWhole(t *testing.T, b *lab.Box) {
	t.Helper()
	before, shown := len(s.tenant.Messages()), ""
	for deadline := time.Now().Add(time.Minute); shown == ""; time.Sleep(50 * time.Millisecond) {
		if now := s.tenant.Messages(); len(now) > before {
			shown = now[len(now)-1].Client.Subject.CommonName
		}
		if time.Now().After(deadline) {
			t.Fatal("no mail arrives")
		}
	}
	if want := s.both[inForce(b)].name; shown != want {
		t.Errorf("the box has the settings of %s and shows the certificate of %s", want, shown)
	}
}
