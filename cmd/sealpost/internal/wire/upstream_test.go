package wire

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sealpost/relay/envelope"
	"sealpost/relay/journal"
	"sealpost/relay/reply"
	"sealpost/relay/server"
	"sealpost/relay/upstream"
)

// bothMethods are the settings of two delivery methods, whose hosts do not exist.
const bothMethods = `[senders]
accepted_domains = ["contoso.com"]
[upstream]
method = ["connector", "submission"]
dns = ["127.0.0.1:1"]
timeout = "1s"
[upstream.connector]
ca_file = %q
[upstream.submission]
user = "relay@contoso.com"
ca_file = %q
[upstream.oauth]
client_id = "8b2f1c6e-0d3a-4a55-9b1f-2f0c7f1f9a10"
grant = "secret"
`

// routesOf opens the routes of the settings and closes them after the test.
func routesOf(t *testing.T, b *Box) []server.Route {
	t.Helper()
	routes, err := b.Routes(t.Context(), journal.Discard())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, r := range routes {
			r.Close()
		}
	})
	return routes
}

func TestRoutes_AreThoseOfTheSettingsWithLimitsOfTheirOwn(t *testing.T) {
	b := box(t, fmt.Sprintf(bothMethods, "", ""))
	routes := routesOf(t, b)
	if len(routes) != 2 || routes[0].Name != "connector" || routes[1].Name != "submission" {
		t.Fatalf("got %d routes: %+v", len(routes), routes)
	}
	if l := routes[0].Limits; l.Connections != 4 || l.PerAccount != 0 || l.Rate.Messages != 0 || l.PerDay != 0 {
		t.Errorf("connector: got %+v", l)
	}
	if l := routes[1].Limits; l.Connections != 4 || l.PerAccount != 3 || l.Rate.Messages != 30 || l.PerDay != 10000 {
		t.Errorf("submission: got %+v", l)
	}
	for _, r := range routes {
		// Either of them may send a notification that was written for the other.
		if n := r.Notify; n.From != "relay@contoso.com" || n.Sender != n.From || n.Reporter != "relay.contoso.com" {
			t.Errorf("%s: got %+v", r.Name, n)
		}
	}
	if account := routes[1].Upstream.Account(envelope.Envelope{Sender: "printer@contoso.com"}); account != "relay@contoso.com" {
		t.Errorf("got account %q", account)
	}
	if ports := b.upstreamPorts(); !slices.Equal(ports, []uint16{25, 587, 443}) {
		t.Errorf("got ports %v", ports)
	}
}

func TestRoutes_OneThatCannotBeOpenedIsTriedAgain(t *testing.T) {
	message := envelope.Envelope{ID: "1", Sender: "relay@contoso.com", Recipients: []envelope.Address{"you@contoso.com"}}
	never := upstream.Transactions{ShouldSend: func([]reply.Reply) bool { return false }}
	later := filepath.Join(t.TempDir(), "ca.pem")
	b := box(t, fmt.Sprintf(bothMethods, later, ""))
	routes := routesOf(t, b)
	deliver := func() *upstream.Unavailable {
		t.Helper()
		_, err := routes[0].Upstream.Deliver(t.Context(), message, noMessage{}, never)
		u := (*upstream.Unavailable)(nil)
		if !errors.As(err, &u) {
			t.Fatalf("got %v, want an *upstream.Unavailable", err)
		}
		return u
	}
	for range 2 {
		if u := deliver(); !u.Configuration || u.Unanswered || !strings.Contains(u.Reason, "it cannot be used: ") || !strings.Contains(u.Reason, later) {
			t.Errorf("got %+v", u)
		}
	}
	if account := routes[0].Upstream.Account(message); account != "" {
		t.Errorf("got account %q", account)
	}
	ca, err := b.Authority(t.Context())
	if err == nil {
		err = os.WriteFile(later, ca, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if u := deliver(); u.Configuration || !strings.Contains(u.Reason, "DNS") {
		t.Errorf("after the correction: got %+v", u)
	}
}

func TestRoutes_NeedOneThatCanBeOpened(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "ca.pem")
	b := box(t, fmt.Sprintf(bothMethods, missing, missing))
	if routes, err := b.Routes(t.Context(), journal.Discard()); err == nil || strings.Count(err.Error(), missing) != 2 {
		t.Errorf("got %d routes, %v", len(routes), err)
	}
}
