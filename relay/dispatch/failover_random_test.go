package dispatch

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sealpost/relay/body"
	"sealpost/relay/envelope"
	"sealpost/relay/journal"
	"sealpost/relay/reply"
	"sealpost/relay/spool"
	"sealpost/relay/upstream"
)

// ledger is what the servers of all routes know: what was sent over which route, and
// what was answered.
type ledger struct {
	mu       sync.Mutex
	run      int                   // of the dispatcher; the next begins with a power cut
	pending  map[string]string     // by message and recipient: the only route that may send it, because content is unanswered
	done     map[string]acceptance // by message and recipient: the server's 2yz reply
	received map[string]int        // by message and recipient: deliveries
	allowed  map[string]int        // by message and recipient: deliveries that may be repeated over the same route
	faults   map[string]struct{}   // what must not happen
	sent     map[*ledgerRoute]int  // contents
	lost     int                   // contents without a reply
}

type acceptance struct {
	at    time.Time
	route *ledgerRoute
}

// ledgerRoute is the upstream of one route with a random behaviour.
type ledgerRoute struct {
	name   string
	ledger *ledger

	mu     sync.Mutex
	random *rand.Rand
	faulty bool
	fault  int // of this round
}

// The faults of a round.
const (
	works = iota
	dead
	misconfigured
	refusesRecipients
	refusesTenant
	greylists
	tooMany
	busy
	losesReplies
	losesRepliesAndDies
	slow
	anything
)

func (r *ledgerRoute) Account(envelope.Envelope) string { return "" }

// pick returns what happens to a message: the fault of the round, and delays around
// the time at which clients stop waiting.
func (r *ledgerRoute) pick() (fault int, before, during time.Duration, coin bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.faulty {
		return works, 0, 0, false
	}
	delays := []time.Duration{0, 0, 0, 2 * time.Second, 5 * time.Second, 5 * time.Second, 6 * time.Second}
	before, during = delays[r.random.IntN(len(delays))], delays[r.random.IntN(len(delays))]
	if fault = r.fault; fault == anything {
		fault = r.random.IntN(anything)
	}
	if fault == losesRepliesAndDies {
		r.fault = dead
		fault = losesReplies
	}
	if fault == slow {
		before, during, fault = before*7, during*7, works
	}
	return fault, before, during, r.random.IntN(2) == 0
}

func (r *ledgerRoute) Deliver(ctx context.Context, e envelope.Envelope, content envelope.Content, tx upstream.Transactions) (upstream.Result, error) {
	l := r.ledger
	l.mu.Lock()
	run := l.run
	l.mu.Unlock()
	fault, before, during, coin := r.pick()
	switch fault {
	case dead:
		return upstream.Result{}, unreachableHost(e)
	case misconfigured:
		return upstream.Result{}, unusable(e)
	}
	if err := sleep(ctx, before); err != nil {
		return upstream.Result{}, &upstream.Unavailable{Reason: "stopping", DuringTransaction: true, Err: err}
	}
	result := upstream.Result{Connection: journal.Connection{Host: r.name}, Mail: senderOK}
	for range e.Recipients {
		to := map[int]reply.Reply{refusesRecipients: userUnknown, refusesTenant: relayDenied, greylists: greylisted, tooMany: tooManyConnections, busy: serverBusy}[fault]
		if to.Code == 0 || (fault == refusesRecipients || fault == greylists) && (len(result.Replies)%2 == 1) == coin || fault == busy && coin {
			to = rcptOK
		}
		result.Replies = append(result.Replies, to)
	}
	if !tx.ShouldSend(slices.Clone(result.Replies)) {
		l.refused(run, r, e, result.Replies)
		return result, nil
	}
	l.begin(run, r, e, result.Replies)
	err := sleep(ctx, during)
	if fault == losesReplies || err != nil {
		l.unanswered(run, r, e, result.Replies, coin)
		return upstream.Result{}, noReply()
	}
	final, offered := queuedOK, slices.Clone(result.Replies)
	if fault == busy {
		final = serverBusy
	}
	for i, each := range result.Replies {
		if each.Positive() {
			result.Replies[i] = final
		}
	}
	result.Accepted = final.Positive()
	if !l.answered(run, r, e, offered, result) {
		return upstream.Result{}, noReply()
	}
	return result, nil
}

func keyOf(e envelope.Envelope, to envelope.Address) string { return e.ID + " " + string(to) }

// begin records that content is sent over a route, to the recipients with a 2yz reply.
func (l *ledger) begin(run int, r *ledgerRoute, e envelope.Envelope, replies []reply.Reply) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if run != l.run {
		return // the box has no power
	}
	l.sent[r]++
	for i, to := range e.Recipients {
		if !replies[i].Positive() {
			continue
		}
		if bound := l.pending[keyOf(e, to)]; bound != "" && bound != r.name {
			l.faults[fmt.Sprintf("%s: sent over %s while %s may have it", keyOf(e, to), r.name, bound)] = struct{}{}
		}
		l.pending[keyOf(e, to)] = r.name
		if a, accepted := l.done[keyOf(e, to)]; accepted {
			l.faults[fmt.Sprintf("%s: sent over %s after %s had answered at %s", keyOf(e, to), r.name, a.route.name, a.at.Format(time.TimeOnly))] = struct{}{}
		}
	}
}

// unanswered records content that got no reply.
func (l *ledger) unanswered(run int, r *ledgerRoute, e envelope.Envelope, replies []reply.Reply, taken bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost++
	for i, to := range e.Recipients {
		if taken && replies[i].Positive() {
			l.received[keyOf(e, to)]++
			l.allowed[keyOf(e, to)]++
		}
	}
}

// answered records the reply to content, after these to RCPT. It returns false if the power was cut
// before: nobody gets the reply.
func (l *ledger) answered(run int, r *ledgerRoute, e envelope.Envelope, replies []reply.Reply, result upstream.Result) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, to := range e.Recipients {
		if !result.Replies[i].Positive() {
			continue
		}
		l.received[keyOf(e, to)]++
		if run != l.run {
			l.allowed[keyOf(e, to)]++
			continue
		}
		l.done[keyOf(e, to)] = acceptance{time.Now(), r}
	}
	for i, to := range e.Recipients {
		if run == l.run && (replies[i].Positive() || replies[i].Permanent()) {
			delete(l.pending, keyOf(e, to))
		}
	}
	return run == l.run
}

// refused records replies without content. A recipient with a permanent one is free.
func (l *ledger) refused(run int, r *ledgerRoute, e envelope.Envelope, replies []reply.Reply) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, to := range e.Recipients {
		if run == l.run && replies[i].Permanent() && l.pending[keyOf(e, to)] == r.name {
			delete(l.pending, keyOf(e, to))
		}
	}
}

// cut records that the power was cut: what was answered in the last seconds may not be
// recorded in the spool, which keeps the message on its route (RFC 1047).
func (l *ledger) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.run++
	for key, a := range l.done {
		if time.Since(a.at) <= spool.LazyDelay+time.Second {
			delete(l.done, key)
			l.allowed[key]++
			l.pending[key] = a.route.name
		}
	}
}

// powerCut replaces the dispatcher and its flash as after a power cut.
func (w *harness) powerCut(r *rand.Rand, l *ledger) {
	w.t.Helper()
	l.cut()
	cuts := slices.Collect(w.flash.PowerCut(4))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = w.d.Close(ctx)
	_ = w.spool.Close()
	w.flash = cuts[r.IntN(len(cuts))]
	w.open()
}

func TestRoutes_DeliverOnceUnderRandomFaults(t *testing.T) {
	// Known seeds, and one more each time; it is the name of the test that failed.
	seeds := []uint64{rand.Uint64()}
	for seed := range uint64(randomRuns) {
		seeds = append(seeds, seed)
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			l := &ledger{pending: map[string]string{}, done: map[string]acceptance{}, received: map[string]int{}, allowed: map[string]int{},
				faults: map[string]struct{}{}, sent: map[*ledgerRoute]int{}}
			var routes []*ledgerRoute
			for i, name := range []string{"first", "second", "third"}[:2+seed%2] {
				routes = append(routes, &ledgerRoute{name: name, ledger: l, random: rand.New(rand.NewPCG(seed, uint64(i+2)))})
			}
			withHarness(t, func(c *setup) {
				c.Memory = body.NewBudget(3 << 20)
				c.Name = routes[0].name
				for _, r := range routes[1:] {
					c.others = append(c.others, Route{Name: r.name, Upstream: r, Limits: c.Limits, Retry: c.Retry, Notify: c.Notify})
				}
			}, func(w *harness) {
				w.close()
				w.setup.Upstream = routes[0]
				w.open()
				w.runRandomRoutes(rand.New(rand.NewPCG(seed, 1)), l, routes)
			})
		})
	}
}

func (w *harness) runRandomRoutes(r *rand.Rand, l *ledger, routes []*ledgerRoute) {
	w.t.Helper()
	mail := acceptedMail{recipients: map[string][]envelope.Address{}}
	for round := range 10 {
		for _, route := range routes {
			route.mu.Lock()
			route.faulty, route.fault = true, r.IntN(anything+1)
			route.mu.Unlock()
		}
		var clients sync.WaitGroup
		for n := range 1 + r.IntN(8) {
			id, wait := fmt.Sprintf("R%d-%d", round, n), time.Duration(r.IntN(20))*time.Second
			to := []envelope.Address{"a@x.example", "b@x.example", "c@x.example"}[:1+r.IntN(3)]
			clients.Go(func() {
				time.Sleep(wait)
				if answer := w.sendAs(id, n%4, 100, to...); answer.Positive() {
					mail.mu.Lock()
					defer mail.mu.Unlock()
					mail.recipients[id] = to
				}
			})
		}
		time.Sleep(time.Duration(r.IntN(30)) * time.Second)
		switch r.IntN(4) {
		case 0:
			w.d.Stop()
			clients.Wait()
			w.restart()
		case 1:
			// Clients that got no reply before the power cut send no more.
			clients.Wait()
			time.Sleep(time.Duration(r.IntN(30)) * time.Second)
			w.powerCut(r, l)
		}
		clients.Wait()
		time.Sleep(time.Duration(r.IntN(90)) * time.Minute)
	}
	for _, route := range routes {
		route.mu.Lock()
		route.faulty = false
		route.mu.Unlock()
	}
	time.Sleep(day)
	// Its next message is the probe of the first route, which takes all mail from then on.
	w.send(1, 100)
	time.Sleep(time.Minute)
	w.checkRoutes(l, mail.recipients)
}

// checkRoutes checks the ledger after all faults are cured.
func (w *harness) checkRoutes(l *ledger, accepted map[string][]envelope.Address) {
	w.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, fault := range slices.Sorted(maps.Keys(l.faults)) {
		w.t.Error(fault)
	}
	for key, n := range l.received {
		if n > 1+l.allowed[key] {
			w.t.Errorf("%s: got %d deliveries, of which %d may be repeated", key, n, l.allowed[key])
		}
	}
	outcomes := maps.Clone(l.received)
	for _, e := range w.events("given up") {
		outcomes[e["id"].(string)+" "+strings.Trim(e["to"].(string), "<>")]++
	}
	for id, recipients := range accepted {
		for _, to := range recipients {
			if outcomes[id+" "+string(to)] == 0 {
				w.t.Errorf("%s to %s is lost", id, to)
			}
		}
	}
	if used, queued, assigned := w.d.config.Memory.Used(), w.queued(), w.assigned(); used != 0 || queued != 0 || assigned != 0 {
		w.t.Errorf("got %d bytes in use, %d queued, %d assigned, want 0", used, queued, assigned)
	}
	if s := w.d.Status(); s.Held != "" || s.Routes[0].Held != "" || s.Active+s.Due+s.Later > 0 {
		w.t.Errorf("got final status %+v, want idle", s)
	}
	if len(l.sent) < 2 || l.lost == 0 {
		w.t.Logf("little happened: %d routes were used, %d replies were lost", len(l.sent), l.lost)
	}
}
