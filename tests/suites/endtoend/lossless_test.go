package endtoend

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sealpost/tests/rigs/load"
	"sealpost/tests/rigs/tenant"
)

// losslessTime returns how long random faults go on. The environment variable LOSSLESS
// overrides it.
func losslessTime(t *testing.T) time.Duration {
	text := os.Getenv("LOSSLESS")
	if text == "" {
		return 20 * time.Second
	}
	return must(time.ParseDuration(text))
}

// TestLossless_NothingIsLostOrRepeatedOverAllMethods sends over a connector, by submission
// and directly, in random order of preference, while the servers, the DNS, the TPM, the
// issuer and the relay itself fail at random. A round lasts up to a minute.
//
// A message may arrive twice only if the server took it without a reply (RFC 1047), its
// connection was dropped, or the relay was killed before it had recorded the reply; and over
// another route only if the first one's server has refused something since
// (docs/routes.md).
func TestLossless_NothingIsLostOrRepeatedOverAllMethods(t *testing.T) {
	t.Parallel()
	end := time.Now().Add(losslessTime(t))
	for round := 1; time.Now().Before(end); round++ {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			newFaultyWorld(t).round(min(time.Until(end), 40*time.Second))
		})
	}
}

// faultyWorld is a relay with three delivery methods and what it depends on.
type faultyWorld struct {
	*twoRoutes
	servers map[string]*tenant.Tenant // by route

	mu       sync.Mutex
	excuses  map[string][]time.Time // when a server of that route took or dropped without a reply
	refusals map[string][]time.Time // when it refused MAIL, RCPT or the content
	killed   []time.Time
	standard map[string]func(verb string) string
}

func newFaultyWorld(t *testing.T) *faultyWorld {
	t.Helper()
	methods := []string{"connector", "submission", "direct"}
	rand.Shuffle(len(methods), func(i, j int) { methods[i], methods[j] = methods[j], methods[i] })
	w := &faultyWorld{excuses: map[string][]time.Time{}, refusals: map[string][]time.Time{}, standard: map[string]func(string) string{}}
	w.twoRoutes = startTwoRoutes(t, []string{"connector", "submission"}, siteConfig{listen: freeAddress(t), spool: "64MiB", retry: "first = \"300ms\"\nlongest = \"2s\""})
	w.stop()
	receiver := startTenant(t, tenant.Config{Certificate: must(authority().IssueP256(nil, recipientHost))})
	w.config.upstream = fmt.Sprintf("method = [%q, %q, %q]\ndns = [%q]\nmessages_per_minute = 100000\nhold = \"300ms\"\ntimeout = \"3s\"", methods[0], methods[1], methods[2], w.dns.Address)
	w.config.more += fmt.Sprintf("\n[upstream.direct]\nport = %d\nca_file = %q\n", receiver.Address().Port, w.path("ca.pem"))
	w.configure()
	w.servers = map[string]*tenant.Tenant{"connector": w.connector, "submission": w.mailbox, "direct": receiver}
	for route := range w.servers {
		w.standard[route] = func(string) string { return "" }
	}
	w.standard["direct"] = func(verb string) string { return when(verb == "RCPT", "250 2.1.5 Recipient OK") }
	for route := range w.servers {
		w.behave(route, nil)
	}
	w.start()
	t.Logf("methods %v", methods)
	return w
}

// behave sets the replies of a route's server by verb; others are the usual ones.
func (w *faultyWorld) behave(route string, replies map[string]string) {
	w.servers[route].SetScript(func(verb, _ string) string {
		reply, found := replies[verb]
		if !found {
			return w.standard[route](verb)
		}
		switch {
		case verb == "CONTENT" && strings.HasPrefix(reply, "\x00"):
			w.note(w.excuses, route)
		case verb == "MAIL" || verb == "RCPT" || verb == "CONTENT":
			w.note(w.refusals, route)
		}
		return reply
	})
}

// note adds the time to those of a route.
func (w *faultyWorld) note(times map[string][]time.Time, route string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	times[route] = append(times[route], time.Now())
}

// faults are the ways in which a server fails. A reply that throttles the site, such as 451
// 4.7.500, is not among them: mail then waits for its limit, which rises slowly.
var faults = []map[string]string{
	nil,
	nil,
	{"CONNECT": tenant.HangUp},
	{"CONNECT": "421 4.3.2 Service not active"},
	{"EHLO": "554 5.3.2 go away"},
	{"STARTTLS": "454 4.7.0 TLS not available"},
	{"MAIL": "432 4.3.2 Concurrent connections limit exceeded"},
	{"MAIL": "451 4.3.2 Please try again later"},
	{"MAIL": tenant.Stall},
	{"RCPT": "451 4.7.1 greylisted"},
	{"RCPT": "550 5.7.64 TenantAttribution; Relay Access Denied"},
	{"MIDWAY": tenant.HangUp},
	{"CONTENT": "452 4.3.1 Insufficient system storage"},
	{"CONTENT": tenant.HangUp},
	{"CONTENT": tenant.Stall},
	{"CONTENT": tenant.Take},
}

// fail makes the server of one route fail at random until ctx ends.
func (w *faultyWorld) fail(ctx context.Context, route string) {
	for ctx.Err() == nil {
		fault := faults[rand.N(len(faults))]
		if _, refuses := fault["RCPT"]; refuses && route == "direct" {
			fault = faults[0] // a receiver's 550 is final
		}
		w.behave(route, fault)
		if rand.N(4) == 0 {
			w.note(w.excuses, route)
			w.servers[route].DropConnections()
		}
		pause(ctx, 50*time.Millisecond+rand.N(700*time.Millisecond))
	}
}

// failOthers makes the DNS, the TPM and the relay fail at random until ctx ends.
func (w *faultyWorld) failOthers(ctx context.Context) {
	for pause(ctx, rand.N(4*time.Second)); ctx.Err() == nil; pause(ctx, rand.N(6*time.Second)) {
		switch rand.N(4) {
		case 0:
			w.dns.Close()
			pause(ctx, rand.N(2*time.Second))
			mustSucceed(w.t, w.dns.Start)
		case 1:
			mustSucceed(w.t, w.tpm.Stop)
			pause(ctx, rand.N(2*time.Second))
			mustSucceed(w.t, w.tpm.Start)
		case 2:
			w.stop()
			w.start()
		case 3:
			w.relay.Kill()
			w.mu.Lock()
			w.killed = append(w.killed, time.Now())
			w.mu.Unlock()
			w.start()
		}
	}
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// round sends under faults for a while, cures everything, and checks what arrived.
func (w *faultyWorld) round(under time.Duration) {
	ctx, stop := context.WithTimeout(context.Background(), under)
	defer stop()
	tracker := load.NewTracker()
	var running sync.WaitGroup
	for client := range 3 {
		running.Go(func() { tracker.Load(ctx, client, w.address(), fmt.Sprintf("127.0.2.%d", client+1)) })
	}
	for route := range w.servers {
		running.Go(func() { w.fail(ctx, route) })
	}
	w.failOthers(ctx)
	running.Wait()
	for route := range w.servers {
		w.behave(route, nil)
	}
	// Limits that were lowered rise slowly.
	const timeout = 3 * time.Minute
	queued := func() bool { return strings.Contains(w.run("queue", "list", "--json").Out, `"number"`) }
	for end := time.Now().Add(timeout); queued(); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(end) {
			lines := strings.Split(w.relay.Log.String(), "\n")
			w.t.Fatalf("the queue is not empty after %s: %s\n%s", timeout, w.run("status", "--json").Out, strings.Join(lines[max(0, len(lines)-100):], "\n"))
		}
	}
	tracker.Check(w.t, w.connector, w.mailbox, w.servers["direct"])
	w.checkArrivals()
}

// checkArrivals explains each message that arrived more than once.
func (w *faultyWorld) checkArrivals() {
	w.t.Helper()
	arrivals, over, repeated := map[string][]arrival{}, map[string]int{}, 0
	for route, server := range w.servers {
		for _, m := range server.Messages() {
			name, _ := load.ParseMessage(m.Content)
			arrivals[name] = append(arrivals[name], arrival{route, m.At})
			over[route]++
		}
	}
	near := func(times []time.Time, at time.Time) bool {
		return slices.ContainsFunc(times, func(excuse time.Time) bool { return excuse.Sub(at).Abs() < window })
	}
	for name, all := range arrivals {
		slices.SortFunc(all, func(a, b arrival) int { return a.at.Compare(b.at) })
		for i, next := range all[1:] {
			repeated++
			before := all[i]
			unanswered := near(w.killed, before.at) || near(w.excuses[before.route], before.at)
			refused := slices.ContainsFunc(w.refusals[before.route], func(at time.Time) bool { return at.After(before.at) && at.Before(next.at) })
			if !unanswered || next.route != before.route && !refused {
				w.t.Errorf("%s arrived %d times without a reason: %v", name, len(all), all)
			}
		}
	}
	w.t.Logf("%d kills, %v, %d repeated after a lost reply", len(w.killed), over, repeated)
}
