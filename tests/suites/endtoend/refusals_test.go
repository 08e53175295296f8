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

// replyCase is a reply of the tenant and how the relay must handle it.
type replyCase struct {
	name   string
	script tenant.Script
	action string // what the relay does about it, for the log
	kind   string // kind of the fault that holds the upstream; "" if only the message is affected
	cure   string // expected in the journal
	bounce bool   // the message is rejected, and the sender of a queued one is notified
}

// replyTo returns a script that replies to one verb with text.
func replyTo(verb, text string) tenant.Script {
	return func(got, _ string) string { return when(got == verb, text) }
}

var replyCases = []replyCase{
	{"432 at MAIL", replyTo("MAIL", "432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded"),
		"wait, fewer connections", "wait", "too many connections at once: wait; the box must use fewer", false},
	{"432 at connect", replyTo("CONNECT", "432 4.3.2 Concurrent connections limit exceeded"),
		"wait, fewer connections", "wait", "too many connections at once", false},
	{"451 4.7.500", replyTo("RCPT", "451 4.7.500 Server busy. Please try again later"),
		"wait long", "wait long", "Exchange Online is throttling this site's address", false},
	{"421 4.3.2", replyTo("MAIL", "421 4.3.2 Service not active"),
		"wait", "wait", "Exchange Online is busy: wait", false},
	{"550 5.7.64", replyTo("RCPT", "550 5.7.64 TenantAttribution; Relay Access Denied SMTP"),
		"configuration: alert, hold the mail, do not bounce at once", "configuration", "no connector of the tenant matches this box: check that the inbound connector names the certificate's domain", false},
	{"554 5.2.252", func(verb, argument string) string {
		return when(verb == "RCPT" && strings.Contains(argument, recipient), "554 5.2.252 SendAsDenied; printer@contoso.com not allowed to send as contoso")
	},
		"that message: bounce with the cure", "", "the mailbox may not send as this sender: give it Send As: Add-RecipientPermission", true},
	{"quota", replyTo("CONTENT", "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException"),
		"wait until it resets", "wait for reset", "the daily limit of recipients is reached", false},
	{"550 5.1.8", replyTo("RCPT", "550 5.1.8 Access denied, bad outbound sender"),
		"stop, alert, test rarely", "blocked", "Exchange Online has blocked the sending account", false},
}

func TestTenantReply_HoldsOrRejectsAndTheQueueDrains(t *testing.T) {
	for _, c := range replyCases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			upstream := startTenant(t, tenantConfig(t))
			// Greylisted first, so that the case applies to queued messages too.
			upstream.SetScript(replyTo("RCPT", "451 4.7.1 greylisted"))
			s := relaySite(t, siteConfig{host: "localhost", port: upstream.Address().Port}, clientCertificate(t, authority()))
			s.mustQueue("greylisted")
			s.mustQueue("greylisted")
			// An attempt in progress ends under the old script.
			upstream.Restart(c.script)
			if c.bounce {
				s.checkBounce(c, upstream)
			} else {
				s.checkHold(c, upstream)
			}
			t.Logf("%s: %s\n%s", c.name, c.action, s.journalSummary())
		})
	}
}

// checkHold checks that the upstream is held, that nothing bounces, and that
// everything is delivered after the tenant recovers.
func (s *site) checkHold(c replyCase, upstream *tenant.Tenant) {
	s.t.Helper()
	held := s.events("upstream held", 1)[0]
	if held["kind"] != c.kind || !strings.Contains(held["words"].(string), c.cure) {
		s.t.Errorf("got event %v, want kind %q and %q", held, c.kind, c.cure)
	}
	s.mustQueue(c.cure)
	if list := s.run("queue", "list").Out; !strings.Contains(list, "3 messages queued; held since ") || !strings.Contains(list, c.cure) {
		s.t.Errorf("queue list does not show 3 held messages and %q:\n%s", c.cure, list)
	}
	upstream.SetScript(nil)
	s.awaitEmpty()
	s.events("upstream resumed", 1)
	if messages := upstream.Messages(); len(messages) != 3 {
		s.t.Errorf("got %d messages, want 3", len(messages))
	}
}

// checkBounce checks that queued messages bounce, and that the client of another
// message gets the rejection.
func (s *site) checkBounce(c replyCase, upstream *tenant.Tenant) {
	s.t.Helper()
	s.events("given up", 2)
	output, err := s.swaks()
	if err == nil || !strings.Contains(output, c.cure) {
		s.t.Errorf("swaks: %v, want a rejection with %q\n%s", err, c.cure, output)
	}
	upstream.SetScript(nil)
	s.awaitEmpty()
	messages := upstream.Messages()
	if len(messages) != 2 {
		s.t.Fatalf("got %d messages, want 2 notifications", len(messages))
	}
	for _, bounce := range messages {
		if bounce.Sender != "" || bounce.Recipients[0] != sender || !strings.Contains(string(bounce.Content), "Action: failed") {
			s.t.Errorf("got a message from %q to %v, want a notification to the sender:\n%s", bounce.Sender, bounce.Recipients, bounce.Content)
		}
	}
	if events := s.relay.Log.Events("upstream held"); len(events) > 0 {
		s.t.Errorf("the fault of one message held the upstream: %v", events)
	}
}

// journalSummary returns the causes and actions in the journal, one line per event.
func (s *site) journalSummary() string {
	var b strings.Builder
	for line := range strings.Lines(s.relay.Log.String()) {
		var event box.Event
		if json.Unmarshal([]byte(line), &event) != nil {
			continue
		}
		for _, detail := range []string{"why", "last", "words", "action", "answer"} {
			if text, found := event[detail].(string); found && event["event"] != "recipient" {
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
	s := relaySite(t, siteConfig{host: "localhost", port: upstream.Address().Port, upstream: `hold = "300ms"`}, clientCertificate(t, authority()))
	ctx, stop := context.WithTimeout(context.Background(), 8*time.Second)
	defer stop()
	var wg sync.WaitGroup
	tracker := load.NewTracker()
	wg.Go(func() { tracker.Load(ctx, 1, s.address(), "127.0.1.2") })
	load.Flap(ctx, upstream)
	wg.Wait()
	upstream.SetScript(nil)
	s.awaitEmpty()
	tracker.Check(t, upstream)
	held, resumed := len(s.relay.Log.Events("upstream held")), len(s.relay.Log.Events("upstream resumed"))
	if held == 0 || resumed == 0 {
		t.Errorf("got %d holds and %d resumes, want some of each", held, resumed)
	}
	t.Logf("flapping: held %d times, resumed %d times, %d attempts deferred because of the message",
		held, resumed, len(s.relay.Log.Events("retrying")))
}

func when(condition bool, reply string) string {
	if condition {
		return reply
	}
	return ""
}
