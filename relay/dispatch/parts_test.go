package dispatch

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sealpost/relay/body"
	"sealpost/relay/envelope"
)

// byDomain gives the first route the recipients of contoso.com and the second the others.
func byDomain(c *setup) {
	own := func(a envelope.Address) bool { return a.Domain() == "contoso.com" }
	c.Takes = own
	c.others[0].Takes = func(a envelope.Address) bool { return !own(a) }
}

// recipientsOf returns the recipients that an upstream has accepted mail for.
func recipientsOf(f *fakeUpstream) (all []string) {
	for _, h := range f.accepted() {
		for _, r := range h.envelope.Recipients {
			all = append(all, string(r))
		}
	}
	slices.Sort(all)
	return all
}

func TestParts_TakeTheRoutesOfTheirRecipients(t *testing.T) {
	for name, memory := range map[string]int64{"in memory": 64 << 20, "too large for memory": 0} {
		for _, restarted := range []bool{false, true} {
			withRoutes(t, func(c *setup) { byDomain(c); c.Memory = body.NewBudget(memory) }, func(w *harness, first, second *fakeUpstream) {
				first.set(func(f *fakeUpstream) { f.fail = unreachableHost })
				if r := w.send(1, 5000, "own@contoso.com"); r.Code != 250 || !strings.Contains(r.Text, "queued") {
					t.Errorf("%s: got %s, want it queued: the other route is not for it", name, r)
				}
				if r := w.send(1, 5000, "1@contoso.com", "2@x.example", "3@contoso.com", "4@y.example"); r.Code != 250 || !strings.Contains(r.Text, "queued") {
					t.Errorf("%s: got %s, want it queued", name, r)
				}
				if restarted {
					w.restart()
				}
				time.Sleep(time.Minute)
				if got := recipientsOf(second); !slices.Equal(got, []string{"2@x.example", "4@y.example"}) || len(first.accepted()) > 0 {
					t.Errorf("%s: got %v over the second route, want its recipients", name, got)
				}
				first.set(func(f *fakeUpstream) { f.fail = nil })
				time.Sleep(2 * time.Hour)
				if got := recipientsOf(first); !slices.Equal(got, []string{"1@contoso.com", "3@contoso.com", "own@contoso.com"}) || w.queued() != 0 {
					t.Errorf("%s: got %v over the first route, %d queued", name, got, w.queued())
				}
				for _, h := range slices.Concat(first.accepted(), second.accepted()) {
					if !strings.Contains(h.content, strings.Repeat("x", 5000)) {
						t.Errorf("%s: got the content %.100q", name, h.content)
					}
				}
			})
		}
	}
}

func TestParts_AreAcceptedAsAWholeOrNotAtAll(t *testing.T) {
	withRoutes(t, byDomain, func(w *harness, first, second *fakeUpstream) {
		first.set(func(f *fakeUpstream) { f.fail = unreachableHost })
		second.set(func(f *fakeUpstream) { f.fail = unreachableHost })
		accepted := 0
		for n := range 40 {
			if r := w.send(n%200+1, 500_000, "1@contoso.com", "2@x.example"); r.Positive() {
				accepted++
			} else if r.Code != 452 {
				t.Errorf("got %s, want 452", r)
			}
		}
		if accepted == 40 || w.queued() != 2*accepted {
			t.Errorf("got %d accepted, %d queued, want some refused, and two for each that was not", accepted, w.queued())
		}
	})
}

func TestParts_OfMailThatNoRouteTakesMayTakeAny(t *testing.T) {
	withRoutes(t, func(c *setup) {
		none := func(envelope.Address) bool { return false }
		c.Takes, c.others[0].Takes = none, none
	}, func(w *harness, first, _ *fakeUpstream) {
		for n := range 3 {
			if r := w.send(1, 100, envelope.Address(fmt.Sprintf("%d@x.example", n))); !r.Positive() {
				t.Errorf("got %s", r)
			}
		}
		if len(first.accepted()) != 3 {
			t.Errorf("got %d accepted, want 3", len(first.accepted()))
		}
	})
}
