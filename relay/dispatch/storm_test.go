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

// storm is a far side that does a while this and a while that.
func storm(r *rand.Rand, f *farSide) {
	answers := []reply.Reply{{}, {}, {}, unknown, grey, denied, crowded, slowly, reached}
	picked, seed := answers[r.IntN(len(answers))], r.Uint64()
	of := func(text string) uint64 {
		h := seed
		for _, c := range []byte(text) {
			h = (h ^ uint64(c)) * 1099511628211
		}
		return h >> 32
	}
	f.behaviour = behaviour{account: f.account}
	f.answer = func(e envelope.Envelope, to envelope.Address) reply.Reply {
		if of(e.ID+string(to))%3 == 0 {
			return picked
		}
		return ok
	}
	switch r.IntN(7) {
	case 0:
		f.down = unreachableHost
	case 1:
		f.down = func(e envelope.Envelope) error {
			if of(e.ID)%4 == 0 {
				return unreachableHost(e)
			}
			return nil
		}
	case 2:
		f.delay = func(e envelope.Envelope) time.Duration { return time.Duration(of(e.ID)%40) * time.Second }
	case 3:
		f.final = func(e envelope.Envelope) reply.Reply {
			if of(e.ID)%2 == 0 {
				return picked
			}
			return taken
		}
	case 4:
		f.rate = 100_000
	case 5:
		f.down = noLogin("1@contoso.com")
	}
}

// promises are the messages that were answered with 250.
type promises struct {
	mu  sync.Mutex
	all map[string][]envelope.Address // by message
}

func TestInAStormEverybodyGetsWhatWasPromisedOnce(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			change := func(c *setup) {
				c.Memory = body.NewBudget(3 << 20)
				if seed%2 == 1 {
					c.Limits = throttle.Limits{Connections: 4, PerAccount: 2, Rate: throttle.Rate{Messages: 3}}
				}
			}
			inWorld(t, change, func(w *world) {
				if seed%2 == 1 {
					w.far.account = ofClient
				}
				w.weather(rand.New(rand.NewPCG(seed, 1)))
			})
		})
	}
}

func (w *world) weather(r *rand.Rand) {
	w.t.Helper()
	given := promises{all: map[string][]envelope.Address{}}
	for round := range 12 {
		w.far.be(func(f *farSide) { storm(r, f) })
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
				if answer := w.sendAs(id, n%4, size, to...); answer.Positive() {
					given.mu.Lock()
					defer given.mu.Unlock()
					given.all[id] = to
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
	w.far.be(func(f *farSide) { f.behaviour = behaviour{account: f.account} })
	time.Sleep(day)
	w.settleAccounts(given.all)
}

// settleAccounts finds every promise kept once.
func (w *world) settleAccounts(given map[string][]envelope.Address) {
	w.t.Helper()
	had := map[string]int{}
	for _, h := range w.far.got() {
		for _, to := range h.recipients {
			if !h.envelope.Report {
				had[h.envelope.ID+" "+string(to)]++
			}
		}
	}
	for who, n := range had {
		if n > 1 {
			w.t.Errorf("%s had it %d times", who, n)
		}
	}
	for _, e := range w.events("given up") {
		had[e["id"].(string)+" "+strings.Trim(e["to"].(string), "<>")]++
	}
	for id, recipients := range given {
		for _, to := range recipients {
			if n := had[id+" "+string(to)]; n != 1 {
				w.t.Errorf("%s to %s came to %d ends", id, to, n)
			}
		}
	}
	owned := w.d.backlog.Messages("box@contoso.com")
	for client := range 4 {
		owned += w.d.backlog.Messages(fmt.Sprintf("%d@contoso.com", client))
	}
	if owners := w.owners(); owners != 0 || owned != 0 {
		w.t.Errorf("%d owners of messages that are gone, %d messages of theirs", owners, owned)
	}
	if used, kept := w.d.config.Memory.Used(), w.kept(); used != 0 || kept != 0 {
		w.t.Errorf("%d bytes of memory are taken, %d messages kept", used, kept)
	}
	if s := w.d.Status(); s.Held != "" || len(s.Accounts) > 0 || s.Active+s.Due+s.Later > 0 {
		w.t.Errorf("it ends as %+v", s)
	}
}
