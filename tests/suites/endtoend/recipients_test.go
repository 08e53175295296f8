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

// choosy is a tenant that knows one recipient not, and puts another off for as
// long as busy.
func choosy(t *testing.T, busy *atomic.Bool) *tenant.Tenant {
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

// await waits until the tenant has n messages, and gives them.
func await(t *testing.T, upstream *tenant.Tenant, n int) []tenant.Message {
	t.Helper()
	const timeout = 30 * time.Second
	for deadline := time.Now().Add(timeout); ; time.Sleep(10 * time.Millisecond) {
		messages := upstream.Messages()
		if len(messages) >= n {
			return messages
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d messages arrived", len(messages), n)
		}
	}
}

func TestRecipients_EachGetTheirOutcomeEvenAfterAKill(t *testing.T) {
	t.Parallel()
	var busy atomic.Bool
	busy.Store(true)
	upstream := choosy(t, &busy)
	s := relaySite(t, told{host: "localhost", port: upstream.Address().Port}, clientCertificate(t, authority()))
	if err := dialogue.Play(s.dial("127.0.0.1"), "testdata/mixed.dialogue"); err != nil {
		t.Errorf("%v\n%s", err, s.relay.Log)
	}
	messages := await(t, upstream, 2)
	if got := strings.Join(messages[0].Recipients, " "); got != recipient {
		t.Errorf("the tenant gave it to %s", got)
	}
	bounce := messages[1]
	if bounce.Sender != "" || !slices.Equal(bounce.Recipients, []string{sender}) || !strings.Contains(string(bounce.Content), "Final-Recipient: rfc822; unknown@fabrikam.example") {
		t.Errorf("the sender was told, as %q to %v:\n%s", bounce.Sender, bounce.Recipients, bounce.Content)
	}
	// Who is owed what is durable two seconds later.
	s.events("retrying", 3)
	s.relay.Kill()
	s.start()
	s.events("retrying", 1)
	busy.Store(false)
	s.awaitEmpty()
	messages = upstream.Messages()
	if last := messages[len(messages)-1]; len(messages) != 3 || strings.Join(last.Recipients, " ") != "busy@fabrikam.example" {
		t.Errorf("the tenant has %d messages, the last for %v", len(messages), last.Recipients)
	}
}
