package endtoend

import (
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sealpost/tests/rigs/dialogue"
	"sealpost/tests/rigs/tenant"
)

// startSelectiveTenant starts a tenant that rejects one recipient, and defers another
// while busy is set.
func startSelectiveTenant(t *testing.T, busy *atomic.Bool) *tenant.Tenant {
	t.Helper()
	config := tenantConfig(t)
	config.Script = func(verb, argument string) string {
		switch {
		case verb == "RCPT" && strings.Contains(argument, "unknown"):
			return "550 5.1.1 User unknown"
		case verb == "RCPT" && strings.Contains(argument, "busy") && busy.Load():
			return "451 4.7.1 greylisted"
		}
		return ""
	}
	return startTenant(t, config)
}

// awaitMessages waits until the tenant has n messages, and returns them.
func awaitMessages(t *testing.T, upstream *tenant.Tenant, n int) []tenant.Message {
	t.Helper()
	const timeout = time.Minute
	for deadline := time.Now().Add(timeout); ; time.Sleep(10 * time.Millisecond) {
		messages := upstream.Messages()
		if len(messages) >= n {
			return messages
		}
		if time.Now().After(deadline) {
			t.Fatalf("got %d messages, want %d", len(messages), n)
		}
	}
}

func TestRecipients_EachGetTheirOutcomeEvenAfterAKill(t *testing.T) {
	t.Parallel()
	var busy atomic.Bool
	busy.Store(true)
	upstream := startSelectiveTenant(t, &busy)
	s := relaySite(t, siteConfig{host: "localhost", port: upstream.Address().Port}, clientCertificate(t, authority()))
	if err := dialogue.Play(s.dial("127.0.0.1"), "testdata/mixed.dialogue"); err != nil {
		t.Errorf("%v\n%s", err, s.relay.Log)
	}
	messages := awaitMessages(t, upstream, 2)
	if got := strings.Join(messages[0].Recipients, " "); got != recipient {
		t.Errorf("got recipients %q, want %q", got, recipient)
	}
	notification := messages[1]
	if notification.Sender != "" || !slices.Equal(notification.Recipients, []string{sender}) || !strings.Contains(string(notification.Content), "Final-Recipient: rfc822; unknown@fabrikam.example") {
		t.Errorf("got a message from %q to %v, want a notification to the sender:\n%s", notification.Sender, notification.Recipients, notification.Content)
	}
	// The pending recipients are stored within two seconds.
	s.events("retrying", 3)
	s.relay.Kill()
	s.start()
	s.events("retrying", 1)
	busy.Store(false)
	s.awaitEmpty()
	messages = upstream.Messages()
	if last := messages[len(messages)-1]; len(messages) != 3 || strings.Join(last.Recipients, " ") != "busy@fabrikam.example" {
		t.Errorf("got %d messages, the last for %v, want 3, the last for busy@fabrikam.example", len(messages), last.Recipients)
	}
}
