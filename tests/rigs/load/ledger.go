package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/textproto"
	"sync"
	"testing"
	"time"

	"sealpost/tests/rigs/tenant"
)

// Flap changes the tenant's mood again and again until ctx ends.
func Flap(ctx context.Context, upstream *tenant.Tenant) {
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

// Ledger is what clients were told of their messages.
type Ledger struct {
	mu       sync.Mutex
	offered  map[string]bool
	answered map[string]bool
	refused  map[int]int // by their codes
}

// NewLedger is empty.
func NewLedger() *Ledger {
	return &Ledger{offered: map[string]bool{}, answered: map[string]bool{}, refused: map[int]int{}}
}

func (l *Ledger) note(messages map[string]bool, name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	messages[name] = true
}

func (l *Ledger) refuse(code int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refused[code]++
}

// Load sends from one client until ctx ends, through every end of the relay.
// The client has an address of its own where from is one.
func (l *Ledger) Load(ctx context.Context, client int, relay, from string) {
	for n := 0; ctx.Err() == nil; {
		device, err := Talk(relay, from)
		for err == nil && ctx.Err() == nil {
			n++
			name := fmt.Sprintf("%d-%d", client, n)
			size := 200 + rand.N(8000)
			if rand.N(20) == 0 {
				size = 300_000
			}
			l.note(l.offered, name)
			if err = device.Send(Numbered(name, size)); err == nil {
				l.note(l.answered, name)
			}
			if refusal := (*textproto.Error)(nil); errors.As(err, &refusal) {
				l.refuse(refusal.Code)
			}
			wait(ctx, rand.N(20*time.Millisecond))
		}
		if device != nil {
			device.Close()
		}
		wait(ctx, 5*time.Millisecond)
	}
}

// Await waits until everything that was answered 250 has arrived; false means that
// the timeout passed first.
func (l *Ledger) Await(upstream *tenant.Tenant, timeout time.Duration) bool {
	for deadline := time.Now().Add(timeout); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		arrived := map[string]bool{}
		for _, message := range upstream.Messages() {
			name, _ := Named(message.Content)
			arrived[name] = true
		}
		if l.within(arrived) {
			return true
		}
	}
	return false
}

func (l *Ledger) within(arrived map[string]bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name := range l.answered {
		if !arrived[name] {
			return false
		}
	}
	return true
}

// Check compares what was answered 250 with what arrived, and tells how many
// those were.
func (l *Ledger) Check(t testing.TB, upstream *tenant.Tenant) (answered int) {
	t.Helper()
	arrived, duplicates := map[string]bool{}, 0
	for _, message := range upstream.Messages() {
		name, whole := Named(message.Content)
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
