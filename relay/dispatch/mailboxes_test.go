package dispatch

import (
	"strings"
	"testing"
	"time"

	"sealpost/relay/envelope"
	"sealpost/relay/reply"
	"sealpost/relay/upstream"
)

// loginRefused fails deliveries of one account like a refused login.
func loginRefused(account string) func(envelope.Envelope) error {
	return func(e envelope.Envelope) error {
		if accountByClient(e) != account {
			return nil
		}
		return &upstream.Unavailable{Status: reply.Status{Class: 4, Subject: 7}, Reason: "the login of " + account + " was refused",
			Account: true, Configuration: true, ServerReply: reply.New(535, 7, 3, "Authentication unsuccessful")}
	}
}

// replyForAccount returns a reply to RCPT for one account only.
func replyForAccount(account string, r reply.Reply) func(envelope.Envelope, envelope.Address) reply.Reply {
	return func(e envelope.Envelope, _ envelope.Address) reply.Reply {
		if accountByClient(e) == account {
			return r
		}
		return rcptOK
	}
}

func TestBreaker_HoldsMailOfOneMailbox(t *testing.T) {
	const one = "1@contoso.com"
	for _, c := range []struct {
		name     string
		change   func(*fakeUpstream)
		kind     string
		attempts [2]int        // in ten hours, minimum and maximum
		recovery time.Duration // maximum until all is delivered
	}{
		{"login refused", func(f *fakeUpstream) { f.fail = loginRefused(one) }, "configuration", [2]int{30, 70}, 20 * time.Minute},
		{"daily limit", func(f *fakeUpstream) {
			f.rcptReply = replyForAccount(one, quotaExceeded)
		}, "wait for reset", [2]int{8, 14}, 75 * time.Minute},
		{"blocked as spammer", func(f *fakeUpstream) {
			f.rcptReply = replyForAccount(one, reply.New(550, 1, 8, "Access denied, bad outbound sender"))
		}, "blocked", [2]int{8, 14}, 75 * time.Minute},
		{"too many connections", func(f *fakeUpstream) { f.rcptReply = replyForAccount(one, tooManyConnections) }, "wait", [2]int{80, 300}, 7 * time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			withHarness(t, nil, func(w *harness) {
				w.upstream.set(func(f *fakeUpstream) { f.account = accountByClient })
				w.upstream.set(c.change)
				for range 60 {
					if r := w.send(1, 100); !strings.Contains(r.Text, "is queued") {
						t.Errorf("mailbox 1: got reply %s", r)
					}
					if r := w.send(2, 100); !strings.HasPrefix(r.Text, "accepted by mx") {
						t.Errorf("mailbox 2: got reply %s", r)
					}
					time.Sleep(10 * time.Minute)
				}
				status := w.d.Status()
				if status.Held != "" || len(status.Accounts) != 1 || status.Accounts[0].Account != one || status.Accounts[0].Held != c.kind {
					t.Errorf("got status %+v", status)
				}
				if attempts := len(w.upstream.offered()) - 60; attempts < c.attempts[0] || attempts > c.attempts[1] {
					t.Errorf("got %d attempts in ten hours", attempts)
				}
				if events := w.events("upstream held"); len(events) != 1 || events[0]["account"] != one {
					t.Errorf("got journal events %v", events)
				}
				w.upstream.set(func(f *fakeUpstream) { f.fail, f.rcptReply = nil, nil })
				time.Sleep(c.recovery)
				if n := len(w.upstream.accepted()); n != 120 || w.queued() != 0 || len(w.d.Status().Accounts) != 0 {
					t.Errorf("got %d delivered, %d queued, status %+v; want 120, 0 and no accounts", n, w.queued(), w.d.Status())
				}
			})
		})
	}
}

// accountByRecipient maps the mail to each recipient to its own mailbox.
func accountByRecipient(e envelope.Envelope) string { return string(e.Recipients[0]) }

func TestBreaker_LetsAClientsOtherMailboxesPass(t *testing.T) {
	for _, restarted := range []bool{false, true} {
		withHarness(t, nil, func(w *harness) {
			w.upstream.set(func(f *fakeUpstream) { f.account, f.fail = accountByRecipient, unreachableHost })
			for range 20 {
				w.send(1, 100, "held@x.example")
			}
			for range 20 {
				w.send(1, 100, "free@x.example")
			}
			w.upstream.set(func(f *fakeUpstream) {
				f.fail = func(e envelope.Envelope) error {
					if e.Recipients[0] != "held@x.example" {
						return nil
					}
					return &upstream.Unavailable{Reason: "the login was refused", Account: true, Configuration: true}
				}
			})
			if restarted {
				w.restart()
			}
			time.Sleep(10 * time.Minute)
			if n := len(w.upstream.accepted()); n != 20 || w.queued() != 20 {
				t.Errorf("restarted %v: got %d delivered, %d queued, want 20 and 20", restarted, n, w.queued())
			}
			if status := w.d.Status(); status.Held != "" || len(status.Accounts) != 1 {
				t.Errorf("restarted %v: got status %+v", restarted, status)
			}
			offered := len(w.upstream.offered())
			if err := w.d.RetryAll(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			if n := len(w.upstream.offered()) - offered; n != 1 {
				t.Errorf("restarted %v: RetryAll: got %d attempts, want 1", restarted, n)
			}
		})
	}
}

func TestDispatcher_ReturnsMailOfAMailboxHeldForDays(t *testing.T) {
	for name, returned := range map[string]int{"1@contoso.com": 2, "": 0} {
		withHarness(t, nil, func(w *harness) {
			w.upstream.set(func(f *fakeUpstream) {
				f.account, f.fail = accountByClient, loginRefused("1@contoso.com")
				if name == "" { // the box has only this mailbox
					f.account = func(envelope.Envelope) string { return "1@contoso.com" }
				}
			})
			w.send(1, 100)
			time.Sleep(time.Hour)
			w.send(1, 100)
			time.Sleep(defaultSetup.Retry.Age + 2*time.Hour)
			reports := 0
			for _, h := range w.upstream.accepted() {
				if h.envelope.Report {
					reports++
				}
			}
			if reports != returned || w.queued() != 2-returned {
				t.Errorf("%q: got %d returned, %d queued", name, reports, w.queued())
			}
			if held := w.d.Status().Accounts; returned == 2 && len(held) != 0 {
				t.Errorf("without mail of the mailbox: got held %+v, want none", held)
			}
			w.upstream.set(func(f *fakeUpstream) { f.fail = nil })
			time.Sleep(20 * time.Minute)
			if n := len(w.upstream.accepted()); w.queued() != 0 || n != 2 {
				t.Errorf("%q: got %d delivered, %d queued, want 2 and 0", name, n, w.queued())
			}
		})
	}
}
