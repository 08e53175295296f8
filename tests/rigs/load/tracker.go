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

// Flap changes the tenant's behaviour at random until ctx ends, and drops connections at
// any time: a reply may be lost.
func Flap(ctx context.Context, upstream *tenant.Tenant) {
	flap(ctx, func(script tenant.Script) {
		upstream.SetScript(script)
		if rand.N(3) == 0 {
			upstream.DropConnections()
		}
	})
}

// FlapBetweenMessages is Flap without lost replies: a message that the tenant has is
// answered.
func FlapBetweenMessages(ctx context.Context, upstream *tenant.Tenant) {
	flap(ctx, upstream.Restart)
}

func flap(ctx context.Context, change func(tenant.Script)) {
	scripts := []tenant.Script{
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
		change(scripts[rand.N(len(scripts))])
		wait(ctx, 50*time.Millisecond+rand.N(400*time.Millisecond))
	}
}

func when(condition bool, reply string) string {
	if condition {
		return reply
	}
	return ""
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// Tracker records the replies to the messages of its clients.
type Tracker struct {
	mu       sync.Mutex
	offered  map[string]bool
	answered map[string]bool
	rejected map[int]int // by reply code
}

// NewTracker returns an empty tracker.
func NewTracker() *Tracker {
	return &Tracker{offered: map[string]bool{}, answered: map[string]bool{}, rejected: map[int]int{}}
}

func (t *Tracker) add(messages map[string]bool, name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	messages[name] = true
}

// AwaitAnswered waits until n more messages are answered 250.
func (t *Tracker) AwaitAnswered(test *testing.T, n int) {
	test.Helper()
	answered := func() int {
		t.mu.Lock()
		defer t.mu.Unlock()
		return len(t.answered)
	}
	want := answered() + n
	for deadline := time.Now().Add(2 * time.Minute); answered() < want; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			test.Fatalf("got %d messages answered 250 in all, want %d", answered(), want)
		}
	}
}

func (t *Tracker) countRejection(code int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rejected[code]++
}

// Load sends from one client until ctx ends, and reconnects whenever the relay
// stops. If from is not empty, the client uses it as its address.
func (t *Tracker) Load(ctx context.Context, client int, relay, from string) {
	for n := 0; ctx.Err() == nil; {
		device, err := Dial(relay, from)
		for err == nil && ctx.Err() == nil {
			n++
			name := fmt.Sprintf("%d-%d", client, n)
			size := 200 + rand.N(8000)
			if rand.N(20) == 0 {
				size = 300_000
			}
			t.add(t.offered, name)
			if err = device.Send(NewMessage(name, size)); err == nil {
				t.add(t.answered, name)
			}
			if rejection := (*textproto.Error)(nil); errors.As(err, &rejection) {
				t.countRejection(rejection.Code)
			}
			wait(ctx, rand.N(20*time.Millisecond))
		}
		if device != nil {
			device.Close()
		}
		wait(ctx, 5*time.Millisecond)
	}
}

// Await waits until every message answered with 250 has arrived. It returns false
// on timeout.
func (t *Tracker) Await(upstream *tenant.Tenant, timeout time.Duration) bool {
	for deadline := time.Now().Add(timeout); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		arrived := map[string]bool{}
		for _, message := range upstream.Messages() {
			name, _ := ParseMessage(message.Content)
			arrived[name] = true
		}
		if t.allArrived(arrived) {
			return true
		}
	}
	return false
}

func (t *Tracker) allArrived(arrived map[string]bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for name := range t.answered {
		if !arrived[name] {
			return false
		}
	}
	return true
}

// Check checks that every message answered with 250 arrived intact at one of the
// tenants, and returns their number.
func (tr *Tracker) Check(t testing.TB, upstreams ...*tenant.Tenant) (answered int) {
	t.Helper()
	var messages []tenant.Message
	for _, upstream := range upstreams {
		messages = append(messages, upstream.Messages()...)
	}
	arrived, duplicates := map[string]bool{}, 0
	for _, message := range messages {
		name, intact := ParseMessage(message.Content)
		switch {
		case !intact || !tr.offered[name]:
			t.Errorf("got a message that was never sent, or is damaged: %q, %.300q", name, message.Content)
		case arrived[name]:
			duplicates++
		}
		arrived[name] = true
	}
	for name := range tr.answered {
		if !arrived[name] {
			t.Errorf("message %s was answered with 250 and is lost", name)
		}
	}
	t.Logf("%d messages offered, %d answered with 250, %v rejected, %d arrived, %d duplicates",
		len(tr.offered), len(tr.answered), tr.rejected, len(arrived), duplicates)
	return len(tr.answered)
}
