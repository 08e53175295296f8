package endtoend

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/textproto"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"sealpost/tests/tenant"
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

// flap changes the tenant's mood again and again until ctx ends.
func flap(ctx context.Context, upstream *tenant.Tenant) {
	moods := []tenant.Script{
		nil,
		nil,
		func(verb, _ string) string { return when(verb == "CONNECT", tenant.HangUp) },
		func(verb, _ string) string { return when(verb == "CONNECT", "421 4.3.2 Service not active") },
		func(verb, _ string) string { return when(verb == "MIDWAY", tenant.HangUp) },
		func(verb, _ string) string { return when(verb == "CONTENT", tenant.HangUp) },
		func(verb, _ string) string { return when(verb == "RCPT", "451 4.7.1 greylisted") },
		func(verb, _ string) string {
			return when(verb == "MAIL", "432 4.3.2 Concurrent connections limit exceeded")
		},
	}
	for ctx.Err() == nil {
		upstream.Behave(moods[rand.N(len(moods))])
		if rand.N(3) == 0 {
			upstream.DropConnections()
		}
		wait(ctx, 50*time.Millisecond+rand.N(400*time.Millisecond))
	}
}

func when(condition bool, answer string) string {
	if condition {
		return answer
	}
	return ""
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// ledger is what clients were told of their messages.
type ledger struct {
	mu       sync.Mutex
	offered  map[string]bool
	answered map[string]bool
	refused  map[int]int // by their codes
}

func newLedger() *ledger {
	return &ledger{offered: map[string]bool{}, answered: map[string]bool{}, refused: map[int]int{}}
}

func (l *ledger) note(messages map[string]bool, name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	messages[name] = true
}

func (l *ledger) refuse(code int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refused[code]++
}

// load sends from one client until ctx ends, through every end of the relay.
func (l *ledger) load(ctx context.Context, client int, relay string) {
	for n := 0; ctx.Err() == nil; {
		device, err := talk(relay, fmt.Sprintf("127.0.1.%d", client+1))
		for err == nil && ctx.Err() == nil {
			n++
			name := fmt.Sprintf("%d-%d", client, n)
			size := 200 + rand.N(8000)
			if rand.N(20) == 0 {
				size = 300_000
			}
			l.note(l.offered, name)
			if err = device.send(numbered(name, size)); err == nil {
				l.note(l.answered, name)
			}
			if refusal := (*textproto.Error)(nil); errors.As(err, &refusal) {
				l.refuse(refusal.Code)
			}
			wait(ctx, rand.N(20*time.Millisecond))
		}
		if device != nil {
			device.close()
		}
		wait(ctx, 5*time.Millisecond)
	}
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

func TestNothingAnswered250IsLostWhenTheRelayIsKilledAgainAndAgain(t *testing.T) {
	t.Parallel()
	upstream := startTenant(t, tenantConfig(t))
	s := newSite(t, told{host: "localhost", port: upstream.Address().Port, listen: freeAddress(t), spool: "64MiB",
		retry: "first = \"300ms\"\nlongest = \"2s\"", upstream: `hold = "300ms"`})
	s.importPFX(clientCertificate(t, authority()))
	s.start()
	relay := s.address()
	ctx, stop := context.WithCancel(context.Background())
	var busy sync.WaitGroup
	l := newLedger()
	for client := range 20 {
		busy.Go(func() { l.load(ctx, client, relay) })
	}
	busy.Go(func() { flap(ctx, upstream) })
	for range kills(t) {
		time.Sleep(20*time.Millisecond + rand.N(600*time.Millisecond))
		s.relay.Kill()
		s.start()
	}
	stop()
	busy.Wait()
	upstream.Behave(nil)
	s.awaitEmpty()
	if answered := l.check(t, upstream); answered < 10*kills(t) {
		t.Errorf("only %d messages were answered 250: the relay was hardly under load", answered)
	}
}

// check compares what was answered 250 with what arrived, and tells how many
// those were.
func (l *ledger) check(t *testing.T, upstream *tenant.Tenant) (answered int) {
	t.Helper()
	arrived, duplicates := map[string]bool{}, 0
	for _, message := range upstream.Messages() {
		name, whole := named(message.Content)
		switch {
		case !whole || !l.offered[name]:
			t.Errorf("a message arrived that nobody sent: %q, %.300q", name, message.Content)
		case arrived[name]:
			duplicates++
		}
		arrived[name] = true
	}
	for name := range l.answered {
		if !arrived[name] {
			t.Errorf("message %s was answered 250 and is lost", name)
		}
	}
	t.Logf("%d messages offered, %d answered 250, %v refused, %d arrived, %d of them again",
		len(l.offered), len(l.answered), l.refused, len(arrived), duplicates)
	return len(l.answered)
}
