package dispatch

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sealpost/hal/simflash"
	"sealpost/relay/envelope"
	"sealpost/relay/reply"
)

func TestRoutes_AnUnansweredMessageStaysWithItsRoute(t *testing.T) {
	for _, restart := range []bool{false, true} {
		for _, queuedFirst := range []bool{false, true} {
			t.Run(fmt.Sprintf("restart %t, queued first %t", restart, queuedFirst), func(t *testing.T) {
				withRoutes(t, nil, func(w *harness, first, second *fakeUpstream) {
					lost := func(f *fakeUpstream) {
						f.fail = nil
						f.unanswered = func(envelope.Envelope, string) (bool, bool) { return false, true }
					}
					if queuedFirst {
						first.set(func(f *fakeUpstream) { f.fail = unreachableHost })
						second.set(func(f *fakeUpstream) { f.fail = unreachableHost })
						w.send(1, 100)
						first.set(lost)
						time.Sleep(5 * time.Minute)
						second.set(func(f *fakeUpstream) { f.fail = nil })
						time.Sleep(10 * time.Minute)
					} else {
						first.set(lost)
						if r := w.send(1, 100); r.Code != 250 || !strings.Contains(r.Text, "is queued") {
							t.Fatalf("got reply %s", r)
						}
					}
					first.set(func(f *fakeUpstream) { f.fail, f.unanswered = unreachableHost, nil })
					if restart {
						w.restart()
					}
					if r := w.send(2, 100); !strings.Contains(r.Text, "accepted by mx") {
						t.Errorf("got reply %s", r)
					}
					time.Sleep(time.Hour)
					if got := ids(second.accepted()); got != "M2" || w.queued() != 1 {
						t.Errorf("got %q accepted by second, %d queued", got, w.queued())
					}
					q, _ := w.d.Queue()
					if item, err := q.Find("M1"); err != nil || item.Route != "first" || !strings.HasPrefix(item.Last, "first: ") {
						t.Errorf("got item %+v, %v", item, err)
					}
					first.set(func(f *fakeUpstream) { f.fail = nil })
					time.Sleep(time.Hour)
					if got := ids(first.accepted()); got != "M1" || w.queued() != 0 {
						t.Errorf("got %q accepted by first, %d queued", got, w.queued())
					}
				})
			})
		}
	}
}

func TestRoutes_AMessageIsFreeAgainOnceItsRouteRefusedItOrIsGone(t *testing.T) {
	for name, free := range map[string]func(w *harness, first *fakeUpstream){
		"refused": func(_ *harness, first *fakeUpstream) {
			first.set(func(f *fakeUpstream) { f.rcptReply = alwaysReply(relayDenied) })
		},
		"busy later": func(_ *harness, first *fakeUpstream) {
			first.set(func(f *fakeUpstream) { f.dataReply = func(envelope.Envelope) reply.Reply { return serverBusy } })
		},
		"gone": func(w *harness, _ *fakeUpstream) {
			w.setup.Route, w.setup.others = w.setup.others[0], nil
			w.restart()
		},
	} {
		t.Run(name, func(t *testing.T) {
			withRoutes(t, nil, func(w *harness, first, second *fakeUpstream) {
				first.set(func(f *fakeUpstream) {
					f.unanswered = func(envelope.Envelope, string) (bool, bool) { return false, true }
				})
				w.send(1, 100)
				first.set(func(f *fakeUpstream) { f.unanswered = nil })
				free(w, first)
				time.Sleep(2 * time.Hour)
				if got := ids(second.accepted()); got != "M1" || w.queued() != 0 {
					t.Errorf("got %q accepted by second, %d queued", got, w.queued())
				}
			})
		})
	}
}

func TestRoutes_OneAloneBindsNoMessage(t *testing.T) {
	withHarness(t, func(c *setup) { c.Name = "only" }, func(w *harness) {
		w.upstream.set(func(f *fakeUpstream) {
			f.unanswered = func(envelope.Envelope, string) (bool, bool) { return false, true }
		})
		if r := w.send(1, 100); r.Code != 250 || strings.Contains(r.Text, "only") {
			t.Fatalf("got reply %s", r)
		}
		time.Sleep(10 * time.Minute)
		q, _ := w.d.Queue()
		if item, err := q.Find("M1"); err != nil || item.Route != "" || strings.Contains(item.Last, "only") || len(w.d.Status().Routes) != 0 {
			t.Errorf("got item %+v, %v, status %+v", item, err, w.d.Status())
		}
	})
}

// An unanswered transaction binds the message, though another one was answered.
func TestRoutes_APartlyUnansweredMessageStaysWithItsRoute(t *testing.T) {
	withRoutes(t, nil, func(w *harness, first, second *fakeUpstream) {
		first.set(func(f *fakeUpstream) {
			f.byDomain = true
			f.unanswered = func(_ envelope.Envelope, domain string) (bool, bool) {
				return domain != "y.example", domain == "y.example"
			}
		})
		w.send(1, 100, "a@x.example", "b@y.example")
		first.set(func(f *fakeUpstream) { f.fail = unreachableHost })
		time.Sleep(3 * time.Hour)
		if len(second.offered()) != 0 || w.queued() != 1 {
			t.Errorf("got %d offers to second, %d queued", len(second.offered()), w.queued())
		}
		first.set(func(f *fakeUpstream) { f.behaviour = behaviour{} })
		time.Sleep(3 * time.Hour)
		for to, n := range first.deliveriesTo() {
			if n != 1 {
				t.Errorf("%s: got %d deliveries", to, n)
			}
		}
	})
}

func TestRoutes_SendNothingThatCannotBeBound(t *testing.T) {
	withRoutes(t, nil, func(w *harness, first, second *fakeUpstream) {
		for _, f := range []*fakeUpstream{first, second} {
			f.set(func(f *fakeUpstream) { f.fail = unreachableHost })
		}
		w.send(1, 100)
		done := w.flash.Counts()
		for call := range 20 {
			w.flash.At(done.Writes+done.Flushes+1+call, simflash.Failed)
		}
		for _, f := range []*fakeUpstream{first, second} {
			f.set(func(f *fakeUpstream) { f.fail = nil })
		}
		time.Sleep(time.Hour)
		if n := len(first.accepted()) + len(second.accepted()); n != 0 || w.d.Failed() == nil {
			t.Errorf("got %d deliveries of a message that could be bound to no route, fault %v", n, w.d.Failed())
		}
		w.poisoned = true
	})
}
