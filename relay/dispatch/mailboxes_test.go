package dispatch

import (
	"strings"
	"testing"
	"time"

	"sealpost/relay/envelope"
	"sealpost/relay/reply"
	"sealpost/relay/upstream"
)

// noLogin is the error of an upstream that lets one account in no more.
func noLogin(account string) func(envelope.Envelope) error {
	return func(e envelope.Envelope) error {
		if ofClient(e) != account {
			return nil
		}
		return &upstream.Unavailable{Status: reply.Status{Class: 4, Subject: 7}, Reason: "the login of " + account + " was refused",
			Account: true, Configuration: true, Answer: reply.New(535, 7, 3, "Authentication unsuccessful")}
	}
}

// only gives an answer to one account.
func only(account string, answer reply.Reply) func(envelope.Envelope, envelope.Address) reply.Reply {
	return func(e envelope.Envelope, _ envelope.Address) reply.Reply {
		if ofClient(e) == account {
			return answer
		}
		return ok
	}
}

func TestAMailboxThatIsShutOutKeepsNobodyElsesMailBack(t *testing.T) {
	const one = "1@contoso.com"
	for _, c := range []struct {
		name   string
		change func(*farSide)
		kind   string
		tries  [2]int        // in ten hours, at least and at most
		cured  time.Duration // until all is delivered, at most
	}{
		{"by its login", func(f *farSide) { f.down = noLogin(one) }, "configuration", [2]int{30, 70}, 20 * time.Minute},
		{"for the day", func(f *farSide) {
			f.answer = only(one, reached)
		}, "wait for reset", [2]int{8, 14}, 75 * time.Minute},
		{"as a spammer", func(f *farSide) {
			f.answer = only(one, reply.New(550, 1, 8, "Access denied, bad outbound sender"))
		}, "blocked", [2]int{8, 14}, 75 * time.Minute},
		{"for its many connections", func(f *farSide) { f.answer = only(one, crowded) }, "wait", [2]int{80, 300}, 7 * time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, nil, func(w *world) {
				w.far.be(func(f *farSide) { f.account = ofClient })
				w.far.be(c.change)
				for range 60 {
					if answer := w.send(1, 100); !strings.Contains(answer.Text, "safe in the spool") {
						t.Errorf("of the mailbox: %s", answer)
					}
					if answer := w.send(2, 100); !strings.HasPrefix(answer.Text, "taken by mx") {
						t.Errorf("of another: %s", answer)
					}
					time.Sleep(10 * time.Minute)
				}
				status := w.d.Status()
				if status.Held != "" || len(status.Accounts) != 1 || status.Accounts[0].Account != one || status.Accounts[0].Held != c.kind {
					t.Errorf("status %+v", status)
				}
				if tries := len(w.far.offered()) - 60; tries < c.tries[0] || tries > c.tries[1] {
					t.Errorf("asked %d times in ten hours", tries)
				}
				if events := w.events("upstream held"); len(events) != 1 || events[0]["account"] != one {
					t.Errorf("the journal has %v", events)
				}
				w.far.be(func(f *farSide) { f.down, f.answer = nil, nil })
				time.Sleep(c.cured)
				if n := len(w.far.got()); n != 120 || w.kept() != 0 || len(w.d.Status().Accounts) != 0 {
					t.Errorf("%d arrived, %d kept, %+v", n, w.kept(), w.d.Status())
				}
			})
		})
	}
}

// ofRecipient gives the mail to each recipient a mailbox of its own.
func ofRecipient(e envelope.Envelope) string { return string(e.Recipients[0]) }

func TestOneClientsMailOfAMailboxThatIsShutOutIsPassedByItsOthers(t *testing.T) {
	for _, restarted := range []bool{false, true} {
		inWorld(t, nil, func(w *world) {
			w.far.be(func(f *farSide) { f.account, f.down = ofRecipient, unreachableHost })
			for range 20 {
				w.send(1, 100, "shut@x.example")
			}
			for range 20 {
				w.send(1, 100, "open@x.example")
			}
			w.far.be(func(f *farSide) {
				f.down = func(e envelope.Envelope) error {
					if e.Recipients[0] != "shut@x.example" {
						return nil
					}
					return &upstream.Unavailable{Reason: "the login was refused", Account: true, Configuration: true}
				}
			})
			if restarted {
				w.restart()
			}
			time.Sleep(10 * time.Minute)
			if n := len(w.far.got()); n != 20 || w.kept() != 20 {
				t.Errorf("restarted: %v: %d arrived, %d kept", restarted, n, w.kept())
			}
			if status := w.d.Status(); status.Held != "" || len(status.Accounts) != 1 {
				t.Errorf("restarted: %v: %+v", restarted, status)
			}
			offered := len(w.far.offered())
			if err := w.d.RetryAll(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			if n := len(w.far.offered()) - offered; n != 1 {
				t.Errorf("restarted: %v: who had it tried now saw %d tries", restarted, n)
			}
		})
	}
}

func TestMailOfAMailboxThatIsShutOutForDaysIsReturnedWhereThatCanBeTold(t *testing.T) {
	for name, returned := range map[string]int{"1@contoso.com": 2, "": 0} {
		inWorld(t, nil, func(w *world) {
			w.far.be(func(f *farSide) {
				f.account, f.down = ofClient, noLogin("1@contoso.com")
				if name == "" { // the box has this mailbox alone
					f.account = func(envelope.Envelope) string { return "1@contoso.com" }
				}
			})
			w.send(1, 100)
			time.Sleep(time.Hour)
			w.send(1, 100)
			time.Sleep(usual.Retry.Age + 2*time.Hour)
			reports := 0
			for _, h := range w.far.got() {
				if h.envelope.Report {
					reports++
				}
			}
			if reports != returned || w.kept() != 2-returned {
				t.Errorf("%q: %d were returned, %d kept", name, reports, w.kept())
			}
			if held := w.d.Status().Accounts; returned == 2 && len(held) != 0 {
				t.Errorf("with no mail left of it: %+v", held)
			}
			w.far.be(func(f *farSide) { f.down = nil })
			time.Sleep(20 * time.Minute)
			if n := len(w.far.got()); w.kept() != 0 || n != 2 {
				t.Errorf("%q: %d arrived, %d kept", name, n, w.kept())
			}
		})
	}
}
