package dispatch

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"sealpost/relay/body"
	"sealpost/relay/dispatch/throttle"
	"sealpost/relay/envelope"
	"sealpost/relay/reply"
)

// randomBehaviour gives the upstream a random behaviour.
func randomBehaviour(r *rand.Rand, f *fakeUpstream) {
	replies := []reply.Reply{{}, {}, {}, userUnknown, greylisted, relayDenied, tooManyConnections, serverBusy, quotaExceeded}
	picked, seed := replies[r.IntN(len(replies))], r.Uint64()
	of := func(text string) uint64 {
		h := seed
		for _, c := range []byte(text) {
			h = (h ^ uint64(c)) * 1099511628211
		}
		return h >> 32
	}
	f.behaviour = behaviour{account: f.account}
	f.rcptReply = func(e envelope.Envelope, to envelope.Address) reply.Reply {
		if of(e.ID+string(to))%3 == 0 {
			return picked
		}
		return rcptOK
	}
	switch r.IntN(7) {
	case 0:
		f.fail = unreachableHost
	case 1:
		f.fail = func(e envelope.Envelope) error {
			if of(e.ID)%4 == 0 {
				return unreachableHost(e)
			}
			return nil
		}
	case 2:
		f.delay = func(e envelope.Envelope) time.Duration { return time.Duration(of(e.ID)%40) * time.Second }
	case 3:
		f.dataReply = func(e envelope.Envelope) reply.Reply {
			if of(e.ID)%2 == 0 {
				return picked
			}
			return queuedOK
		}
	case 4:
		f.rate = 100_000
	case 5:
		f.fail = loginRefused("1@contoso.com")
	}
}

// acceptedMail records the messages with reply 250.
type acceptedMail struct {
	mu         sync.Mutex
	recipients map[string][]envelope.Address // by message ID
}

func TestDispatcher_DeliversOnceUnderRandomFaults(t *testing.T) {
	for seed := range uint64(randomRuns) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			change := func(c *setup) {
				c.Memory = body.NewBudget(3 << 20)
				if seed%2 == 1 {
					c.Limits = throttle.Limits{Connections: 4, PerAccount: 2, Rate: throttle.Rate{Messages: 3}}
				}
			}
			withHarness(t, change, func(w *harness) {
				if seed%2 == 1 {
					w.upstream.account = accountByClient
				}
				w.runRandomTraffic(rand.New(rand.NewPCG(seed, 1)))
			})
		})
	}
}

func (w *harness) runRandomTraffic(r *rand.Rand) {
	w.t.Helper()
	mail := acceptedMail{recipients: map[string][]envelope.Address{}}
	for round := range 12 {
		w.upstream.set(func(f *fakeUpstream) { randomBehaviour(r, f) })
		var clients sync.WaitGroup
		for n := range 1 + r.IntN(12) {
			id, size, wait := fmt.Sprintf("R%d-%d", round, n), 100+r.IntN(1000), time.Duration(r.IntN(60))*time.Second
			if r.IntN(4) == 0 {
				size = r.IntN(2 << 20)
			}
			var to []envelope.Address
			for i := range 1 + r.IntN(3) {
				to = append(to, envelope.Address(fmt.Sprintf("r%d@x.example", i)))
			}
			clients.Go(func() {
				time.Sleep(wait)
				if r := w.sendAs(id, n%4, size, to...); r.Positive() {
					mail.mu.Lock()
					defer mail.mu.Unlock()
					mail.recipients[id] = to
				}
			})
		}
		if r.IntN(3) == 0 {
			time.Sleep(time.Duration(r.IntN(70)) * time.Second)
			w.d.Stop()
			clients.Wait()
			w.restart()
		}
		clients.Wait()
		time.Sleep(time.Duration(r.IntN(200)) * time.Minute)
	}
	w.upstream.set(func(f *fakeUpstream) { f.behaviour = behaviour{account: f.account} })
	time.Sleep(day)
	w.checkDeliveredOnce(mail.recipients)
}

// checkDeliveredOnce checks that every accepted message was delivered or given
// up exactly once for each recipient.
func (w *harness) checkDeliveredOnce(accepted map[string][]envelope.Address) {
	w.t.Helper()
	outcomes := map[string]int{}
	for _, h := range w.upstream.accepted() {
		for _, to := range h.recipients {
			if !h.envelope.Report {
				outcomes[h.envelope.ID+" "+string(to)]++
			}
		}
	}
	for recipient, n := range outcomes {
		if n > 1 {
			w.t.Errorf("%s: got %d deliveries, want 1", recipient, n)
		}
	}
	for _, e := range w.events("given up") {
		outcomes[e["id"].(string)+" "+strings.Trim(e["to"].(string), "<>")]++
	}
	for id, recipients := range accepted {
		for _, to := range recipients {
			if n := outcomes[id+" "+string(to)]; n != 1 {
				w.t.Errorf("%s to %s: got %d outcomes, want 1", id, to, n)
			}
		}
	}
	w.d.mu.Lock()
	byAccount := w.d.backlog.Messages(0, "box@contoso.com")
	for client := range 4 {
		byAccount += w.d.backlog.Messages(0, fmt.Sprintf("%d@contoso.com", client))
	}
	w.d.mu.Unlock()
	if assigned := w.assigned(); assigned != 0 || byAccount != 0 {
		w.t.Errorf("got %d assigned messages, %d by account, want 0", assigned, byAccount)
	}
	if used, queued := w.d.config.Memory.Used(), w.queued(); used != 0 || queued != 0 {
		w.t.Errorf("got %d bytes in use, %d queued, want 0", used, queued)
	}
	if s := w.d.Status(); s.Held != "" || len(s.Accounts) > 0 || s.Active+s.Due+s.Later > 0 {
		w.t.Errorf("got final status %+v, want idle", s)
	}
}
