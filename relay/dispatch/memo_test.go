package dispatch

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"sealpost/hal/simflash"
	"sealpost/relay/body"
	"sealpost/relay/dispatch/throttle"
	"sealpost/relay/queue"
	"sealpost/relay/reply"
	"sealpost/relay/spool"
)

// This test uses the real clock: a goroutine that waits for a mutex would stop
// the fake clock of synctest.
func TestMemo_DelaysNoClientWhileItIsWritten(t *testing.T) {
	opened, _, err := spool.Open(simflash.New(16<<20, 1), flashKey, spool.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	w := &harness{t: t, upstream: &fakeUpstream{}, spool: opened, log: &syncBuffer{}, setup: defaultSetup}
	w.setup.Memory, w.setup.Upstream = body.NewBudget(64<<20), w.upstream
	w.setup.Limits = throttle.Limits{Connections: 4, PerDay: 100}
	w.start()
	var (
		mu    sync.Mutex
		memos [][]byte
	)
	release, written := make(chan struct{}), make(chan struct{}, 1)
	w.d.setMemo = func(q *queue.Queue, memo []byte) error {
		select {
		case written <- struct{}{}:
		default:
		}
		<-release
		mu.Lock()
		defer mu.Unlock()
		memos = append(memos, memo)
		return q.SetMemo(memo)
	}
	w.d.SetQueue(queue.New(opened))

	const clients = 20
	replies := make(chan reply.Reply, clients)
	go func() {
		for i := range clients {
			replies <- w.sendAs(fmt.Sprint("M", i), i, 100, "a@x.example", "b@x.example")
		}
	}()
	for i := range clients {
		select {
		case r := <-replies:
			if !strings.Contains(r.Text, "accepted by mx") {
				t.Errorf("got reply %s", r)
			}
		case <-time.After(10 * time.Second):
			close(release)
			t.Fatalf("client %d got no reply while the memo is written", i)
		}
	}
	select {
	case <-written:
	default:
		t.Error("got no memo, want one")
	}
	close(release)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := w.d.Close(ctx); err != nil {
		t.Error(err)
	}
	before := 0
	for _, memo := range memos {
		if n := recipientsIn(t, memo); n < before {
			t.Errorf("got a memo of %d recipients after one of %d", n, before)
		} else {
			before = n
		}
	}
	if last := opened.Memo(); before != 2*clients || !bytes.Equal(last, memos[len(memos)-1]) {
		t.Errorf("got last memo with %d recipients, want %d: %s", before, 2*clients, last)
	}
	if err := opened.Close(); err != nil {
		t.Error(err)
	}
}

// recipientsIn returns how many recipients a memo counts.
func recipientsIn(t *testing.T, memo []byte) int {
	t.Helper()
	var all struct {
		Routes map[string]map[string]struct {
			Day struct{ Counts []int }
		}
	}
	if err := json.Unmarshal(memo, &all); err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, account := range all.Routes[""] {
		for _, n := range account.Day.Counts {
			total += n
		}
	}
	return total
}
