package dispatch

import (
	"strings"
	"testing"
	"time"

	"sealpost/relay/envelope"
	"sealpost/relay/reply"
	"sealpost/relay/report"
)

// readElsewhere is the table of another kind of host: what Exchange Online is
// known for means nothing to it, and what means nothing there holds all mail
// back here.
func readElsewhere(answer reply.Reply, _ envelope.Address, _ string) (report.Reading, bool) {
	switch answer.Code {
	case 450:
		return report.Reading{Kind: report.Blocked, Cause: "this host has blocked us", Cure: "ask its postmaster"}, true
	case 550:
		return report.Reading{Kind: report.Message, Cause: "this host knows no such mailbox", Cure: "check the address"}, true
	}
	return report.Reading{}, false
}

func TestARouteReadsRepliesByItsOwnTable(t *testing.T) {
	elsewhere := func(c *setup) { c.Read = readElsewhere }
	for _, c := range []struct {
		name   string
		change func(*setup)
		answer reply.Reply
		held   string
		words  string // to the client
	}{
		{"blocked there", elsewhere, reply.New(450, 7, 1, "go away"), "blocked", "this host has blocked us: ask its postmaster"},
		{"unknown here", nil, reply.New(450, 7, 1, "go away"), "", "safe in the spool"},
		{"of the message there", elsewhere, denied, "", "this host knows no such mailbox: check the address"},
		{"of the tenant here", nil, denied, "configuration", "no connector of the tenant matches this box"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, c.change, func(w *world) {
				w.far.be(func(f *farSide) { f.answer = says(c.answer) })
				if answer := w.send(1, 100); !strings.Contains(answer.Text, c.words) {
					t.Errorf("answered %s", answer)
				}
				if held := w.d.Status().Held; held != c.held {
					t.Errorf("held for %q", held)
				}
			})
		})
	}
}

func TestANotificationExplainsRepliesByTheRoutesTable(t *testing.T) {
	inWorld(t, func(c *setup) { c.Read = readElsewhere }, func(w *world) {
		w.far.be(func(f *farSide) { f.answer = late(unknown) })
		w.send(1, 100)
		time.Sleep(5 * time.Minute)
		got := w.far.got()
		if len(got) != 1 || !strings.Contains(strings.ReplaceAll(got[0].content, "=\r\n", ""), "knows no such mailbox: check the address.") {
			t.Errorf("the bounces are %+v", got)
		}
	})
}
