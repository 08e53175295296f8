package dispatch

import (
	"context"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"sealpost/relay/envelope"
	"sealpost/relay/reply"
)

const notifyAll = envelope.NotifySuccess | envelope.NotifyFailure | envelope.NotifyDelay

// sendAsking sends a message to one recipient for each of the parameters, r0@x.example
// and so on.
func (w *harness) sendAsking(sender envelope.Address, dsn envelope.DSN) reply.Reply {
	w.t.Helper()
	e := envelope.Envelope{ID: "M1", Client: netip.AddrFrom4([4]byte{10, 0, 0, 1}), Sender: sender, Received: time.Now(), DSN: dsn}
	for i := range dsn.Recipients {
		e.Recipients = append(e.Recipients, envelope.Address("r"+string(rune('0'+i))+"@x.example"))
	}
	in := w.d.Begin(e, 0)
	n, err := io.Copy(in, strings.NewReader("Subject: M1\r\n\r\nthe body\r\n"))
	if err != nil {
		w.t.Fatal(err)
	}
	e.Size, e.Received = n, time.Now()
	return in.Accept(context.Background(), e)
}

// dsnWith returns one recipient for each NOTIFY.
func dsnWith(each ...envelope.Notify) (dsn envelope.DSN) {
	for _, n := range each {
		dsn.Recipients = append(dsn.Recipients, envelope.RecipientDSN{Notify: n})
	}
	return dsn
}

// reported returns the recipients that notifications report, by their action, and to
// whom they were sent.
func (w *harness) reported() (byAction map[string][]string, to []envelope.Address) {
	byAction = map[string][]string{}
	for _, each := range w.upstream.accepted() {
		if !each.envelope.Report {
			continue
		}
		if each.envelope.DSN.Recipients != nil || each.envelope.DSN.Return != "" {
			w.t.Errorf("notification: got DSN parameters %+v, want none", each.envelope.DSN)
		}
		to = append(to, each.envelope.Recipients...)
		recipient := ""
		for line := range strings.SplitSeq(each.content, "\r\n") {
			if name, ok := strings.CutPrefix(line, "Final-Recipient: rfc822; "); ok {
				recipient, _, _ = strings.Cut(name, "@")
			}
			if action, ok := strings.CutPrefix(line, "Action: "); ok {
				byAction[action] = append(byAction[action], recipient)
			}
		}
	}
	return byAction, to
}

func TestNotify_DecidesWhatTheSenderHears(t *testing.T) {
	each := []envelope.Notify{0, envelope.NotifyNever, envelope.NotifySuccess, envelope.NotifyFailure, envelope.NotifyDelay, notifyAll}
	for name, c := range map[string]struct {
		rcptReply func(envelope.Envelope, envelope.Address) reply.Reply
		offersDSN bool
		after     time.Duration
		want      map[string]string
	}{
		"failure":                         {deferAll(userUnknown), true, time.Hour, map[string]string{"failed": "r0 r3 r5"}},
		"failure without DSN":             {deferAll(userUnknown), false, time.Hour, map[string]string{"failed": "r0 r3 r5"}},
		"delay and expiry":                {deferAll(greylisted), true, 6 * day, map[string]string{"delayed": "r0 r4 r5", "failed": "r0 r3 r5"}},
		"delivery after a delay":          {deferAll(rcptOK), true, time.Hour, nil},
		"relaying after a delay":          {deferAll(rcptOK), false, time.Hour, map[string]string{"relayed": "r2 r5"}},
		"relaying while the client waits": {alwaysReply(rcptOK), false, time.Hour, map[string]string{"relayed": "r2 r5"}},
		"delivery while the client waits": {alwaysReply(rcptOK), true, time.Hour, nil},
		"refusal while the client waits":  {alwaysReply(userUnknown), false, time.Hour, nil},
	} {
		t.Run(name, func(t *testing.T) {
			withHarness(t, nil, func(w *harness) {
				w.upstream.set(func(f *fakeUpstream) {
					f.offersDSN = c.offersDSN
					f.rcptReply = func(e envelope.Envelope, to envelope.Address) reply.Reply {
						if e.Report {
							return rcptOK
						}
						return c.rcptReply(e, to)
					}
				})
				w.sendAsking("printer@contoso.com", dsnWith(each...))
				time.Sleep(c.after)
				got, to := w.reported()
				for _, action := range []string{"failed", "delayed", "relayed"} {
					if have := strings.Join(got[action], " "); have != c.want[action] {
						t.Errorf("%s: got %q, want %q", action, have, c.want[action])
					}
				}
				if len(to) != len(c.want) || slices.ContainsFunc(to, func(a envelope.Address) bool { return a != "printer@contoso.com" }) || w.queued() != 0 {
					t.Errorf("got %d notifications to %v, %d queued", len(to), to, w.queued())
				}
				if r := c.want["failed"]; r != "" && len(w.events("given up")) != len(each) {
					t.Errorf("got %d recipients given up in the journal, want %d", len(w.events("given up")), len(each))
				}
			})
		})
	}
}

// deferAll defers every recipient at first, so that the message is queued, and then
// replies r.
func deferAll(r reply.Reply) func(envelope.Envelope, envelope.Address) reply.Reply {
	seen := map[envelope.Address]bool{}
	return func(_ envelope.Envelope, to envelope.Address) reply.Reply {
		if !seen[to] {
			seen[to] = true
			return greylisted
		}
		return r
	}
}

func TestNotify_HoldsForPartsOfAMessage(t *testing.T) {
	withHarness(t, nil, func(w *harness) {
		w.upstream.set(func(f *fakeUpstream) {
			f.rcptReply = func(e envelope.Envelope, to envelope.Address) reply.Reply {
				switch to {
				case "r0@x.example", "r1@x.example":
					return userUnknown
				case "r3@x.example":
					if time.Since(e.Received) < 10*time.Minute {
						return greylisted
					}
				}
				return rcptOK
			}
		})
		dsn := dsnWith(envelope.NotifyNever, 0, envelope.NotifySuccess, notifyAll)
		dsn.Recipients[3].Original = "rfc822;r+33@y.example"
		w.sendAsking("printer@contoso.com", dsn)
		w.restart()
		time.Sleep(time.Hour)
		got, _ := w.reported()
		if failed, relayed := strings.Join(got["failed"], " "), strings.Join(got["relayed"], " "); failed != "r1" || relayed != "r2 r3" || w.queued() != 0 {
			t.Errorf("got failed %q, relayed %q, %d queued; want r1, r2 r3 and 0", failed, relayed, w.queued())
		}
		last := w.upstream.accepted()
		if text := last[len(last)-1].content; !strings.Contains(text, "Original-Recipient: rfc822; r3@y.example") {
			t.Errorf("got\n%s", text)
		}
		for _, each := range w.upstream.offered() {
			for i, to := range each.envelope.Recipients {
				if want := dsn.Of(int(to[1] - '0')); !each.envelope.Report && each.envelope.DSN.Of(i) != want {
					t.Errorf("%s: got DSN parameters %+v, want %+v", to, each.envelope.DSN.Of(i), want)
				}
			}
		}
	})
}

func TestNotify_DoesNotSilenceTheAlertAddress(t *testing.T) {
	const alert = envelope.Address("alerts@msp.example")
	for name, c := range map[string]struct {
		nullSender bool
		sender     envelope.Address
		want       string
	}{
		"the sender can be notified": {true, "printer@contoso.com", ""},
		"no sender":                  {true, "", "r0 r1"},
		"null sender not relayed":    {false, "printer@contoso.com", "r0 r1"},
	} {
		t.Run(name, func(t *testing.T) {
			change := func(s *setup) { s.Notify.Alert, s.Notify.NullSender = alert, c.nullSender }
			withHarness(t, change, func(w *harness) {
				refuse := deferAll(userUnknown)
				w.upstream.set(func(f *fakeUpstream) {
					f.rcptReply = func(e envelope.Envelope, to envelope.Address) reply.Reply {
						if e.Report || to == "r2@x.example" {
							return rcptOK
						}
						return refuse(e, to)
					}
				})
				dsn := dsnWith(envelope.NotifyNever, envelope.NotifySuccess, envelope.NotifySuccess)
				dsn.Return = envelope.ReturnFull
				w.sendAsking(c.sender, dsn)
				time.Sleep(time.Hour)
				got, to := w.reported()
				if failed := strings.Join(got["failed"], " "); failed != c.want {
					t.Errorf("failed: got %q to %v, want %q", failed, to, c.want)
				}
				for _, each := range w.upstream.accepted() {
					if each.envelope.Report && each.envelope.Recipients[0] == alert && strings.Contains(each.content, "the body") {
						t.Error("the alert address got the message's content")
					}
				}
				if toSender := c.nullSender && c.sender != ""; toSender != (len(got["relayed"]) > 0) {
					t.Errorf("relayed: got %v to %v", got["relayed"], to)
				}
			})
		})
	}
}

func TestReturn_AndEnvelopeIDAreInTheNotification(t *testing.T) {
	for ret, whole := range map[envelope.Return]bool{"": false, envelope.ReturnHeader: false, envelope.ReturnFull: true} {
		withHarness(t, nil, func(w *harness) {
			w.upstream.set(func(f *fakeUpstream) { f.rcptReply = deferThenReply(userUnknown) })
			dsn := dsnWith(0)
			dsn.Return, dsn.ID = ret, "QQ+2B314159"
			w.sendAsking("printer@contoso.com", dsn)
			w.restart()
			time.Sleep(time.Hour)
			got := w.upstream.accepted()
			if len(got) != 1 || strings.Contains(got[0].content, "the body") != whole || !strings.Contains(got[0].content, "Original-Envelope-Id: QQ+314159\r\n") {
				t.Errorf("RET=%s: got %+v", ret, got)
			}
		})
	}
}
