package endtoend

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sealpost/tests/rigs/box"
	"sealpost/tests/rigs/load"
	"sealpost/tests/rigs/parts"
	"sealpost/tests/rigs/tenant"
)

// twoRoutes is a box that sends through a connector and by submission, and the servers
// of both.
type twoRoutes struct {
	*site
	names       []string // of the methods, the preferred one first
	dns         *parts.Dnsmasq
	issuer      *issuerProxy
	connector   *tenant.Tenant
	mailbox     *tenant.Tenant
	certificate tls.Certificate // of the connector's server
	refusing    atomic.Bool     // the mailbox refuses every token
	count       atomic.Int64    // of messages sent
	closed      []tenant.Message
}

// startTwoRoutes starts the servers and the relay. The connector's host is found by its
// MX.
func startTwoRoutes(t *testing.T, names []string, config siteConfig) *twoRoutes {
	t.Helper()
	w := &twoRoutes{names: names, dns: startDNS(t, tenantHost), certificate: must(authority().IssueP256(nil, tenantHost))}
	w.connector = startTenant(t, w.connectorConfig())
	w.mailbox = startMailbox(t, func(string) string { return when(w.refusing.Load(), "535 5.7.3 Authentication unsuccessful") }, tenant.Submission{})
	config.port = w.connector.Address().Port
	config.upstream = fmt.Sprintf("method = [%q, %q]\ndns = [%q]\nmessages_per_minute = 100000\n%s", names[0], names[1], w.dns.Address, config.upstream)
	config.more = submissionSettings(w.mailbox.Address().Port, unreachableTokenURL, `grant = "secret"`)
	w.site = newSite(t, config)
	w.importPFX(clientCertificate(t, authority()))
	issuer := startIssuer(t, parts.IssuerClient{Secret: clientSecret})
	w.issuer = startIssuerProxy(t, issuer)
	w.configureSubmission(w.mailbox.Address().Port, w.issuer.tokenURL(issuer), `grant = "secret"`)
	w.enterSecret()
	w.start()
	return w
}

func (w *twoRoutes) connectorConfig() tenant.Config {
	return tenant.Config{Certificate: w.certificate, ClientCAs: authority().Pool(), AcceptedDomains: []string{"contoso.com"}, Connector: relayName}
}

// arrived returns the messages of both servers by name.
func (w *twoRoutes) arrived() map[string][]string {
	routes := map[string][]string{}
	add := func(route string, messages []tenant.Message) {
		for _, m := range messages {
			name, _ := load.ParseMessage(m.Content)
			routes[name] = append(routes[name], route)
		}
	}
	add("connector", append(slices.Clone(w.closed), w.connector.Messages()...))
	add("submission", w.mailbox.Messages())
	return routes
}

// await waits until n messages have arrived.
func (w *twoRoutes) await(n int) {
	w.t.Helper()
	const timeout = time.Minute
	for end := time.Now().Add(timeout); len(w.arrived()) < n; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("got %d messages, want %d\n%s\n%s", len(w.arrived()), n, w.run("queue", "list").Out, w.relay.Log)
		}
	}
}

// routeOf returns the route in the event of a delivery.
func routeOf(event map[string]any) string {
	upstream, _ := event["upstream"].(map[string]any)
	route, _ := upstream["route"].(string)
	return route
}

// breakage is a way in which the preferred route fails.
type breakage struct {
	name, preferred string
	words           string // of the journal
	break_, cure    func(w *twoRoutes)
	stay            bool // messages stay with the preferred route, which may have them
}

func connectorScript(script tenant.Script) func(*twoRoutes) {
	return func(w *twoRoutes) { w.connector.Restart(script) }
}

func reconfigured(change func(*tenant.Config)) func(*twoRoutes) {
	return func(w *twoRoutes) {
		config := w.connectorConfig()
		change(&config)
		w.connector.Reconfigure(config)
	}
}

var (
	cured     = reconfigured(func(*tenant.Config) {})
	breakages = []breakage{
		{"port closed", "connector", "cannot reach " + tenantHost,
			func(w *twoRoutes) {
				w.closed = append(w.closed, w.connector.Messages()...)
				w.connector.Close()
			},
			func(w *twoRoutes) {
				config := w.connectorConfig()
				config.Address = fmt.Sprintf("127.0.0.1:%d", w.config.port)
				w.connector = startTenant(w.t, config)
			}, false},
		{"STARTTLS stripped", "connector", "does not offer STARTTLS", reconfigured(func(c *tenant.Config) { c.NoSTARTTLS = true }), cured, false},
		{"expired certificate", "connector", "it has expired or is not valid yet", reconfigured(func(c *tenant.Config) {
			c.Certificate = must(authority().IssueP256(func(x *x509.Certificate) { x.NotAfter = time.Now().Add(-time.Hour) }, tenantHost))
		}), cured, false},
		{"550 5.7.64", "connector", "no connector of the tenant matches this box", reconfigured(func(c *tenant.Config) { c.Connector = "other.example" }), cured, false},
		{"token refused", "submission", "the issuer does not accept what the box identifies itself with",
			func(w *twoRoutes) {
				w.issuer.setHandler(respondWith(http.StatusUnauthorized, `{"error":"invalid_client"}`))
				w.refusing.Store(true)
				w.mailbox.DropConnections()
			},
			func(w *twoRoutes) {
				w.issuer.setHandler(nil)
				w.refusing.Store(false)
			}, false},
		{"client key lost", "connector", tpmAbsent,
			func(w *twoRoutes) {
				// The client secret of the other route needs the TPM too, unless there is a token.
				connectorScript(replyTo("MAIL", "421 4.3.2 Service not active"))(w)
				w.sendNamed("token", 1)
				cured(w)
				w.awaitReturn("token", "connector")
				mustSucceed(w.t, w.tpm.Stop)
				w.connector.Reconfigure(w.connectorConfig())
			},
			func(w *twoRoutes) { mustSucceed(w.t, w.tpm.Start) }, false},
		{"432 storm", "connector", "too many connections at once", connectorScript(replyTo("MAIL", "432 4.3.2 Concurrent connections limit exceeded")), cured, false},
		{"451 4.7.500", "connector", "throttling this site's address", connectorScript(replyTo("RCPT", "451 4.7.500 Server busy. Please try again later")), cured, false},
		{"DNS dead", "connector", "no DNS response for contoso.com",
			func(w *twoRoutes) {
				w.dns.Close()
				w.connector.DropConnections()
			},
			func(w *twoRoutes) { mustSucceed(w.t, w.dns.Start) }, false},
		{"host hangs after MAIL", "connector", "did not reply in time", connectorScript(replyTo("MAIL", tenant.Stall)), cured, false},
		{"unanswered end of data", "connector", "the connection to " + tenantHost + " was lost", connectorScript(replyTo("CONTENT", tenant.HangUp)), cured, true},
	}
)

func TestRoutes_TheSecondOneTakesOverAndTheFirstOneReturns(t *testing.T) {
	const devices, each = 4, 12
	for _, c := range breakages {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			names := []string{"connector", "submission"}
			if c.preferred == "submission" {
				slices.Reverse(names)
			}
			w := startTwoRoutes(t, names, siteConfig{upstream: "hold = \"1s\"\ntimeout = \"8s\"", spool: "64MiB"})
			// The time limit of an attempt is more than a busy machine needs for a reply.
			w.sendNamed("before", 1)
			c.break_(w)
			begun := time.Now()
			w.sendFrom(devices, each)
			if !c.stay {
				w.await(w.sent())
			}
			tookOver := time.Since(begun)
			isExpected := func(e box.Event) bool {
				return e["route"] == c.preferred && strings.Contains(fmt.Sprint(e["words"]), c.words)
			}
			if held := w.events("upstream held", 1); !slices.ContainsFunc(held, isExpected) {
				t.Errorf("got events %v, want route %s and %q", held, c.preferred, c.words)
			}
			c.cure(w)
			cure := time.Now()
			w.awaitReturn("after", c.preferred)
			returned := time.Since(cure)
			w.await(w.sent())
			w.awaitEmpty()
			w.checkOnce()
			if c.stay {
				w.checkStayed(c.preferred)
			}
			t.Logf("%s", w.table(c, tookOver, returned))
		})
	}
}

// awaitReturn sends messages until one of them is delivered over the preferred route.
func (w *twoRoutes) awaitReturn(name, preferred string) {
	w.t.Helper()
	const timeout = 40 * time.Second
	begun := time.Now()
	for n := 0; !w.returned(preferred); n++ {
		if time.Since(begun) > timeout {
			w.t.Fatalf("%s is not used again %s after its cure:\n%s", preferred, timeout, w.run("status").Out)
		}
		w.sendNamed(fmt.Sprint(name, n), 1)
		time.Sleep(200 * time.Millisecond)
	}
}

// returned reports whether the preferred route has resumed and delivered a message since.
func (w *twoRoutes) returned(preferred string) bool {
	resumed := w.relay.Log.Events("upstream resumed")
	delivered := w.relay.Log.Events("delivered")
	return len(resumed) > 0 && resumed[len(resumed)-1]["route"] == preferred && routeOf(delivered[len(delivered)-1]) == preferred
}

// sendNamed sends messages of these names from one device.
func (w *twoRoutes) sendNamed(name string, n int) {
	w.t.Helper()
	device, err := load.Dial(w.address(), "")
	if err != nil {
		w.t.Fatal(err)
	}
	defer device.Close()
	for i := range n {
		if err := device.Send(load.NewMessage(fmt.Sprintf("%s-%d", name, i), 1000)); err != nil {
			w.t.Errorf("%s: %v", name, err)
		}
		w.count.Add(1)
	}
}

// sent returns how many messages were sent.
func (w *twoRoutes) sent() int { return int(w.count.Load()) }

// sendFrom sends messages from concurrent devices.
func (w *twoRoutes) sendFrom(devices, each int) {
	w.t.Helper()
	var all sync.WaitGroup
	for device := range devices {
		all.Go(func() { w.sendNamed(fmt.Sprint("device", device), each) })
	}
	all.Wait()
}

// checkOnce checks that every message arrived over exactly one route.
func (w *twoRoutes) checkOnce() {
	w.t.Helper()
	arrived := w.arrived()
	if len(arrived) != w.sent() {
		w.t.Errorf("got %d messages, want %d", len(arrived), w.sent())
	}
	for name, routes := range arrived {
		if len(routes) != 1 {
			w.t.Errorf("%s arrived %d times, over %v", name, len(routes), routes)
		}
	}
}

// checkStayed checks that what was queued after a lost reply took no other route.
func (w *twoRoutes) checkStayed(preferred string) {
	w.t.Helper()
	queued := map[string]bool{}
	for _, e := range w.events("queued", 1) {
		queued[fmt.Sprint(e["id"])] = true
	}
	for _, e := range w.relay.Log.Events("delivered") {
		if queued[fmt.Sprint(e["id"])] && routeOf(e) != preferred {
			w.t.Errorf("got event %v, want a delivery over %s", e, preferred)
		}
	}
}

// table returns what the journal says about a case.
func (w *twoRoutes) table(c breakage, tookOver, returned time.Duration) string {
	over := map[string]int{}
	for _, e := range w.relay.Log.Events("delivered") {
		over[routeOf(e)]++
	}
	return fmt.Sprintf("%-24s %4d sent  %3d over %s, %3d over %s  %3d queued  %2d holds  all arrived after %4.1fs  first used again after %4.1fs",
		c.name, w.sent(), over[w.names[0]], w.names[0], over[w.names[1]], w.names[1], len(w.relay.Log.Events("queued")),
		len(w.relay.Log.Events("upstream held")), tookOver.Seconds(), returned.Seconds())
}
