package endtoend

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"sealpost/tests/rigs/load"
	"sealpost/tests/rigs/tenant"
)

// routeKills returns how often a relay with two routes is killed. The environment
// variable ROUTE_KILLS overrides it.
func routeKills() int {
	n, err := strconv.Atoi(os.Getenv("ROUTE_KILLS"))
	if err != nil {
		return 10
	}
	return n
}

// window is how long before a kill a reply of the server may not be recorded yet: the
// spool records deliveries within two seconds (RFC 1047), and later on a busy machine.
const window = 4 * time.Second

// TestRoutesKill_LosesNothingAndNoSecondRouteRepeats kills the relay while both routes
// fail at random, without losing a reply. A message may arrive twice only if its first
// arrival was within the window before a kill, and then over the same route.
func TestRoutesKill_LosesNothingAndNoSecondRouteRepeats(t *testing.T) {
	t.Parallel()
	w := startTwoRoutes(t, []string{"connector", "submission"}, siteConfig{listen: freeAddress(t), spool: "64MiB",
		retry: "first = \"300ms\"\nlongest = \"2s\"", upstream: "hold = \"300ms\"\ntimeout = \"1m\""})
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	tracker := load.NewTracker()
	for client := range 8 {
		running.Go(func() { tracker.Load(ctx, client, w.address(), fmt.Sprintf("127.0.1.%d", client+1)) })
	}
	for _, upstream := range []*tenant.Tenant{w.connector, w.mailbox} {
		running.Go(func() { load.FlapBetweenMessages(ctx, upstream) })
	}
	var killed []time.Time
	for range routeKills() {
		time.Sleep(window + time.Second + rand.N(2*time.Second))
		w.relay.Kill()
		killed = append(killed, time.Now())
		w.start()
	}
	stop()
	running.Wait()
	w.connector.SetScript(nil)
	w.mailbox.SetScript(nil)
	w.awaitEmpty()
	if answered := tracker.Check(t, w.connector, w.mailbox); answered < 10*routeKills() {
		t.Errorf("got %d messages answered 250, want at least %d: the relay was hardly under load", answered, 10*routeKills())
	}
	w.checkRepeated(killed)
}

// arrival is a message at one of the servers.
type arrival struct {
	route string
	at    time.Time
}

// checkRepeated explains each message that arrived more than once.
func (w *twoRoutes) checkRepeated(killed []time.Time) {
	w.t.Helper()
	arrivals, repeated, over := map[string][]arrival{}, 0, map[string]int{}
	for route, upstream := range map[string]*tenant.Tenant{"connector": w.connector, "submission": w.mailbox} {
		for _, m := range upstream.Messages() {
			name, _ := load.ParseMessage(m.Content)
			arrivals[name] = append(arrivals[name], arrival{route, m.At})
			over[route]++
		}
	}
	for name, all := range arrivals {
		for i, next := range all[1:] {
			repeated++
			explained := false
			for _, kill := range killed {
				explained = explained || all[i].at.Before(kill) && kill.Sub(all[i].at) < window
			}
			if !explained || next.route != all[0].route {
				w.t.Errorf("%s arrived %d times, after no kill or over another route: %v", name, len(all), all)
			}
		}
	}
	w.t.Logf("%d kills, %d messages over the connector, %d by submission, %d repeated within the window before a kill",
		len(killed), over["connector"], over["submission"], repeated)
	if over["connector"] == 0 || over["submission"] == 0 {
		w.t.Errorf("got %v, want messages over both routes", over)
	}
}
