package dispatch

import (
	"context"
	"errors"
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
	split  bool // it makes a transaction for each recipient

	accounts bool // each client has one

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

func (r *ledgerRoute) Account(e envelope.Envelope) string {
	if !r.accounts {
		return ""
	}
	return accountByClient(e)
}

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

// Deliver makes one transaction, or one for each recipient.
func (r *ledgerRoute) Deliver(ctx context.Context, e envelope.Envelope, _ envelope.Content, tx upstream.Transactions) (upstream.Result, error) {
	r.ledger.mu.Lock()
	d := &ledgerDelivery{r: r, run: r.ledger.run, e: e, tx: tx, result: upstream.Result{Connection: journal.Connection{Host: r.name}, Mail: senderOK,
		Replies: make([]reply.Reply, len(e.Recipients)), Unanswered: make([]bool, len(e.Recipients))}}
	r.ledger.mu.Unlock()
	all := make([]int, len(e.Recipients))
	for i := range all {
		all[i] = i
	}
	if !r.split {
		_, err := d.transaction(ctx, all)
		if err != nil {
			return upstream.Result{}, err
		}
		return d.result, nil
	}
	var err error
	for n := range all {
		more, failed := d.transaction(ctx, all[n:n+1])
		if failed != nil {
			err, d.result.Replies[n] = failed, reply.Reply{}
		}
		if u := (*upstream.Unavailable)(nil); errors.As(failed, &u) && u.Unanswered {
			d.result.Unanswered[n] = true
		}
		if !more {
			break
		}
		if n < len(all)-1 {
			tx.Settled(slices.Clone(d.result.Replies))
		}
	}
	if err != nil && !slices.ContainsFunc(d.result.Replies, func(each reply.Reply) bool { return each.Code != 0 }) && !slices.Contains(d.result.Unanswered, true) {
		return upstream.Result{}, err
	}
	return d.result, nil
}

// ledgerDelivery is a message on its way over a ledgerRoute.
type ledgerDelivery struct {
	r      *ledgerRoute
	run    int
	e      envelope.Envelope
	tx     upstream.Transactions
	result upstream.Result
}

// transaction offers the message to the recipients of these indexes. more is false if
// no other transaction may follow.
func (d *ledgerDelivery) transaction(ctx context.Context, indexes []int) (more bool, err error) {
	l, e := d.r.ledger, d.e.To(indexes)
	fault, before, during, coin := d.r.pick()
	switch fault {
	case dead:
		return true, unreachableHost(e)
	case misconfigured:
		if d.r.accounts {
			return true, loginRefused(d.r.Account(e))(e)
		}
		return true, unusable(e)
	}
	if err := sleep(ctx, before); err != nil {
		return true, &upstream.Unavailable{Reason: "stopping", DuringTransaction: true, Err: err}
	}
	var offered []reply.Reply
	for n, i := range indexes {
		to := map[int]reply.Reply{refusesRecipients: userUnknown, refusesTenant: relayDenied, greylists: greylisted, tooMany: tooManyConnections, busy: serverBusy}[fault]
		if to.Code == 0 || (fault == refusesRecipients || fault == greylists) && (n%2 == 1) == coin || fault == busy && coin {
			to = rcptOK
		}
		offered = append(offered, to)
		d.result.Replies[i] = to
	}
	if !slices.ContainsFunc(offered, reply.Reply.Positive) {
		l.refused(d.run, d.r, e, offered)
		return true, nil
	}
	if !d.tx.ShouldSend(slices.Clone(d.result.Replies)) {
		l.refused(d.run, d.r, e, offered)
		return false, nil
	}
	l.begin(d.run, d.r, e, offered)
	err = sleep(ctx, during)
	if fault == losesReplies || err != nil {
		l.unanswered(e, offered, coin)
		return true, noReply()
	}
	final := queuedOK
	if fault == busy {
		final = serverBusy
	}
	for n, i := range indexes {
		if offered[n].Positive() {
			d.result.Replies[i] = final
		}
	}
	if !l.answered(d.run, d.r, e, offered, final) {
		return true, noReply()
	}
	d.result.Accepted = d.result.Accepted || final.Positive()
	return true, nil
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
func (l *ledger) unanswered(e envelope.Envelope, replies []reply.Reply, taken bool) {
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

// answered records the final reply to content, after these to RCPT. It returns false if
// the power was cut before: nobody gets the reply.
func (l *ledger) answered(run int, r *ledgerRoute, e envelope.Envelope, replies []reply.Reply, final reply.Reply) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, to := range e.Recipients {
		key := keyOf(e, to)
		if final.Positive() && replies[i].Positive() {
			l.received[key]++
			if run != l.run {
				l.allowed[key]++
			} else {
				l.done[key] = acceptance{time.Now(), r}
			}
		}
		if run == l.run && (replies[i].Positive() || replies[i].Permanent()) {
			delete(l.pending, key)
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
				routes = append(routes, &ledgerRoute{name: name, ledger: l, split: (seed/2+uint64(i))%3 == 0, accounts: (seed/3+uint64(i))%3 == 1, random: rand.New(rand.NewPCG(seed, uint64(i+2)))})
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
