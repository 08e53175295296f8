package endtoend

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

	"sealpost/tests/rigs/load"
)

// kills returns how often the relay is killed. The environment variable KILLS
// overrides it.
func kills(t *testing.T) int {
	t.Helper()
	n, err := strconv.Atoi(os.Getenv("KILLS"))
	if err != nil {
		return 200
	}
	return n
}

// freeAddress returns an address that the relay can listen on after each start.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestKill_LosesNothingAnswered250(t *testing.T) {
	t.Parallel()
	upstream := startTenant(t, tenantConfig(t))
	s := newSite(t, siteConfig{host: "localhost", port: upstream.Address().Port, listen: freeAddress(t), spool: "64MiB",
		retry: "first = \"300ms\"\nlongest = \"2s\"", upstream: `hold = "300ms"`})
	s.importPFX(clientCertificate(t, authority()))
	s.start()
	relay := s.address()
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	tracker := load.NewTracker()
	for client := range 20 {
		wg.Go(func() { tracker.Load(ctx, client, relay, fmt.Sprintf("127.0.1.%d", client+1)) })
	}
	wg.Go(func() { load.Flap(ctx, upstream) })
	for range kills(t) {
		time.Sleep(20*time.Millisecond + rand.N(600*time.Millisecond))
		s.relay.Kill()
		s.start()
	}
	stop()
	wg.Wait()
	upstream.SetScript(nil)
	s.awaitEmpty()
	if answered := tracker.Check(t, upstream); answered < 10*kills(t) {
		t.Errorf("got %d messages answered 250, want at least %d: the relay was hardly under load", answered, 10*kills(t))
	}
}
