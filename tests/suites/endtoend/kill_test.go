package endtoend

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"sealpost/tests/rigs/load"
	"strconv"
	"sync"
	"testing"
	"time"
)

// kills is how often the relay is killed; KILLS in the environment asks for
// more.
func kills(t *testing.T) int {
	t.Helper()
	n, err := strconv.Atoi(os.Getenv("KILLS"))
	if err != nil {
		return 200
	}
	return n
}

// freeAddress is one that the relay can listen on each time it starts.
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
	s := newSite(t, told{host: "localhost", port: upstream.Address().Port, listen: freeAddress(t), spool: "64MiB",
		retry: "first = \"300ms\"\nlongest = \"2s\"", upstream: `hold = "300ms"`})
	s.importPFX(clientCertificate(t, authority()))
	s.start()
	relay := s.address()
	ctx, stop := context.WithCancel(context.Background())
	var busy sync.WaitGroup
	l := load.NewTracker()
	for client := range 20 {
		busy.Go(func() { l.Load(ctx, client, relay, fmt.Sprintf("127.0.1.%d", client+1)) })
	}
	busy.Go(func() { load.Flap(ctx, upstream) })
	for range kills(t) {
		time.Sleep(20*time.Millisecond + rand.N(600*time.Millisecond))
		s.relay.Kill()
		s.start()
	}
	stop()
	busy.Wait()
	upstream.SetScript(nil)
	s.awaitEmpty()
	if answered := l.Check(t, upstream); answered < 10*kills(t) {
		t.Errorf("only %d messages were answered 250: the relay was hardly under load", answered)
	}
}
