package endtoend

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"sealpost/tests/rigs/box"
	"sealpost/tests/rigs/load"
	"sealpost/tests/rigs/tenant"
)

// mood is one of the tenant's, with its line of the table of Exchange Online's
// answers.
type mood struct {
	name   string
	script tenant.Script
	table  string // what the answer means
	kind   string // of the fault for which the upstream is held; empty where only the message is concerned
	words  string // that the journal must have
	bounce bool   // the message is refused, and its sender told once it was kept
}

// answers makes a tenant answer one verb with a text.
func answers(verb, text string) tenant.Script {
	return func(asked, _ string) string { return when(asked == verb, text) }
}

var moods = []mood{
	{"432 at MAIL", answers("MAIL", "432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded"),
		"wait, fewer connections", "wait", "too many connections at once: wait; the box must use fewer", false},
	{"432 at the door", answers("CONNECT", "432 4.3.2 Concurrent connections limit exceeded"),
		"wait, fewer connections", "wait", "too many connections at once", false},
	{"451 4.7.500", answers("RCPT", "451 4.7.500 Server busy. Please try again later"),
		"wait long", "wait long", "Exchange Online is throttling this site's address", false},
	{"421 4.3.2", answers("MAIL", "421 4.3.2 Service not active"),
		"wait", "wait", "Exchange Online is busy: wait", false},
	{"550 5.7.64", answers("RCPT", "550 5.7.64 TenantAttribution; Relay Access Denied SMTP"),
		"configuration: alert, hold the mail, do not bounce at once", "configuration", "no connector of the tenant matches this box: check that the inbound connector names the certificate's domain", false},
	{"554 5.2.252", func(verb, argument string) string {
		return when(verb == "RCPT" && strings.Contains(argument, recipient), "554 5.2.252 SendAsDenied; printer@contoso.com not allowed to send as contoso")
	},
		"that message: bounce with the cure", "", "the mailbox may not send as this sender: give it Send As: Add-RecipientPermission", true},
	{"quota", answers("CONTENT", "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException"),
		"wait until it resets", "wait for reset", "the daily limit of recipients is reached", false},
	{"550 5.1.8", answers("RCPT", "550 5.1.8 Access denied, bad outbound sender"),
		"stop, alert, never hammer", "blocked", "Exchange Online has blocked the sending account", false},
}

func TestTenantRefusal_IsHandledAsTheTableSaysAndTheQueueDrains(t *testing.T) {
	for _, m := range moods {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			upstream := startTenant(t, tenantConfig(t))
			// Greylisted first, so that the mood meets a message that was kept.
			upstream.SetScript(answers("RCPT", "451 4.7.1 greylisted"))
			s := relaySite(t, told{host: "localhost", port: upstream.Address().Port}, clientCertificate(t, authority()))
			s.mustKeep("greylisted")
			s.mustKeep("greylisted")
			// An attempt may be under way, which ends as it began.
			upstream.Restart(m.script)
			if m.bounce {
				s.meetRefusal(m, upstream)
			} else {
				s.meetHold(m, upstream)
			}
			t.Logf("%s: the table says: %s\n%s", m.name, m.table, s.diary())
		})
	}
}

// meetHold sees the upstream held, nothing bounced, and everything delivered
// once the tenant is itself again.
func (s *site) meetHold(m mood, upstream *tenant.Tenant) {
	s.t.Helper()
	held := s.events("upstream held", 1)[0]
	if held["kind"] != m.kind || !strings.Contains(held["words"].(string), m.words) {
		s.t.Errorf("the journal says %v", held)
	}
	s.mustKeep(m.words)
	if list := s.run("queue", "list").Out; !strings.Contains(list, "3 messages queued; held since ") || !strings.Contains(list, m.words) {
		s.t.Errorf("the queue is shown as\n%s", list)
	}
	upstream.SetScript(nil)
	s.awaitEmpty()
	s.events("upstream resumed", 1)
	if messages := upstream.Messages(); len(messages) != 3 {
		s.t.Errorf("%d messages arrived", len(messages))
	}
}

// meetRefusal sees the kept messages bounced and the client of another told at
// once.
func (s *site) meetRefusal(m mood, upstream *tenant.Tenant) {
	s.t.Helper()
	s.events("given up", 2)
	output, err := s.swaks()
	if err == nil || !strings.Contains(output, m.words) {
		s.t.Errorf("swaks ended with %v:\n%s", err, output)
	}
	upstream.SetScript(nil)
	s.awaitEmpty()
	messages := upstream.Messages()
	if len(messages) != 2 {
		s.t.Fatalf("%d messages arrived", len(messages))
	}
	for _, bounce := range messages {
		if bounce.Sender != "" || bounce.Recipients[0] != sender || !strings.Contains(string(bounce.Content), "Action: failed") {
			s.t.Errorf("the sender was told, from %q to %v:\n%s", bounce.Sender, bounce.Recipients, bounce.Content)
		}
	}
	if events := s.relay.Log.Events("upstream held"); len(events) > 0 {
		s.t.Errorf("one message's fault held the upstream: %v", events)
	}
}

// diary is what the relay did, from its journal, a line an event.
func (s *site) diary() string {
	var b strings.Builder
	for line := range strings.Lines(s.relay.Log.String()) {
		var event box.Event
		if json.Unmarshal([]byte(line), &event) != nil {
			continue
		}
		for _, detail := range []string{"why", "last", "words", "action", "answer"} {
			if text, there := event[detail].(string); there && event["event"] != "recipient" {
				fmt.Fprintf(&b, "    %-16s %.110s\n", event["event"], text)
				break
			}
		}
		if event["event"] == "upstream resumed" {
			fmt.Fprintln(&b, "    upstream resumed")
		}
	}
	return b.String()
}

func TestFlappingTenant_ReceivesEverything(t *testing.T) {
	t.Parallel()
	upstream := startTenant(t, tenantConfig(t))
	s := relaySite(t, told{host: "localhost", port: upstream.Address().Port, upstream: `hold = "300ms"`}, clientCertificate(t, authority()))
	ctx, stop := context.WithTimeout(context.Background(), 8*time.Second)
	defer stop()
	var busy sync.WaitGroup
	l := load.NewTracker()
	busy.Go(func() { l.Load(ctx, 1, s.address(), "127.0.1.2") })
	load.Flap(ctx, upstream)
	busy.Wait()
	upstream.SetScript(nil)
	s.awaitEmpty()
	l.Check(t, upstream)
	held, resumed := len(s.relay.Log.Events("upstream held")), len(s.relay.Log.Events("upstream resumed"))
	if held == 0 || resumed == 0 {
		t.Errorf("held %d times, resumed %d times", held, resumed)
	}
	t.Logf("flapping: held %d times, resumed %d times, %d attempts put off for the message's own sake",
		held, resumed, len(s.relay.Log.Events("retrying")))
}

func when(condition bool, answer string) string {
	if condition {
		return answer
	}
	return ""
}
