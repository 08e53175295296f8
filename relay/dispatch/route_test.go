package dispatch

import (
	"strings"
	"testing"
	"time"

	"sealpost/relay/envelope"
	"sealpost/relay/reply"
	"sealpost/relay/report"
)

// classifyOtherHost is the table of another kind of host. It does not know
// Exchange Online's replies, and classifies 450 as Blocked.
func classifyOtherHost(r reply.Reply, _ envelope.Address, _ string) (report.Classification, bool) {
	switch r.Code {
	case 450:
		return report.Classification{Kind: report.Blocked, Cause: "this host has blocked us", Cure: "ask its postmaster"}, true
	case 550:
		return report.Classification{Kind: report.Message, Cause: "this host knows no such mailbox", Cure: "check the address"}, true
	}
	return report.Classification{}, false
}

func TestRoute_ClassifiesRepliesByItsOwnTable(t *testing.T) {
	otherHost := func(c *setup) { c.Classify = classifyOtherHost }
	for _, c := range []struct {
		name   string
		change func(*setup)
		reply  reply.Reply
		held   string
		text   string // in the client's reply
	}{
		{"450 by the other table", otherHost, reply.New(450, 7, 1, "go away"), "blocked", "this host has blocked us: ask its postmaster"},
		{"450 by the default table", nil, reply.New(450, 7, 1, "go away"), "", "is queued"},
		{"550 by the other table", otherHost, relayDenied, "", "this host knows no such mailbox: check the address"},
		{"550 by the default table", nil, relayDenied, "configuration", "no connector of the tenant matches this box"},
	} {
		t.Run(c.name, func(t *testing.T) {
			withHarness(t, c.change, func(w *harness) {
				w.upstream.set(func(f *fakeUpstream) { f.rcptReply = alwaysReply(c.reply) })
				if r := w.send(1, 100); !strings.Contains(r.Text, c.text) {
					t.Errorf("got reply %s", r)
				}
				if held := w.d.Status().Held; held != c.held {
					t.Errorf("got held %q, want %q", held, c.held)
				}
			})
		})
	}
}

func TestNotification_ExplainsRepliesByTheRoutesTable(t *testing.T) {
	withHarness(t, func(c *setup) { c.Classify = classifyOtherHost }, func(w *harness) {
		w.upstream.set(func(f *fakeUpstream) { f.rcptReply = deferThenReply(userUnknown) })
		w.send(1, 100)
		time.Sleep(5 * time.Minute)
		got := w.upstream.accepted()
		if len(got) != 1 || !strings.Contains(strings.ReplaceAll(got[0].content, "=\r\n", ""), "knows no such mailbox: check the address.") {
			t.Errorf("got bounces %+v", got)
		}
	})
}
