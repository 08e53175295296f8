package endtoend

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"sealpost/tests/rigs/dialogue"
	"sealpost/tests/rigs/tenant"
)

// commands records the arguments of MAIL and RCPT.
type commands struct {
	mu    sync.Mutex
	lines []string
}

func (c *commands) add(line string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lines = append(c.lines, line)
}

// of returns the arguments that contain text.
func (c *commands) of(text string) (found []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, line := range c.lines {
		if strings.Contains(line, text) && !slices.Contains(found, line) {
			found = append(found, line)
		}
	}
	return found
}

func TestDSN_IsPassedOnOrReportedByTheRelay(t *testing.T) {
	t.Parallel()
	for name, offered := range map[string]bool{"an upstream that offers DSN": true, "one that does not": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var seen commands
			var rejectBusy atomic.Bool // replies 550 for the busy recipients instead of 451
			config := tenantConfig(t)
			config.Extensions = slices.DeleteFunc(slices.Clone(tenant.Extensions), func(e string) bool { return e == "DSN" && !offered })
			config.Script = func(verb, argument string) string {
				if verb != "MAIL" && verb != "RCPT" {
					return ""
				}
				seen.add(argument)
				switch {
				case !strings.Contains(argument, "busy"):
					return ""
				case rejectBusy.Load():
					return "550 5.1.1 User unknown"
				}
				return "451 4.7.1 greylisted"
			}
			upstream := startTenant(t, config)
			s := relaySite(t, siteConfig{host: "localhost", port: upstream.Address().Port}, clientCertificate(t, authority()))
			if err := dialogue.Play(s.dial("127.0.0.1"), "testdata/dsn.dialogue"); err != nil {
				t.Fatalf("%v\n%s", err, s.relay.Log)
			}
			s.events("retrying", 3) // the pending recipients are stored within two seconds
			s.relay.Kill()
			s.start()
			rejectBusy.Store(true)
			want := 2 // the message, and a notification of failure
			if !offered {
				want++
			}
			awaitMessages(t, upstream, want)
			s.awaitEmpty()
			messages := upstream.Messages()
			if len(messages) != want {
				t.Errorf("got %d messages, want %d", len(messages), want)
			}
			var failed, relayed string
			for _, m := range messages[1:] {
				text := string(m.Content)
				if m.Sender != "" || !slices.Equal(m.Recipients, []string{sender}) || !strings.Contains(text, "Original-Envelope-Id: QQ+314159\r\n") {
					t.Errorf("got a notification from %q to %v:\n%s", m.Sender, m.Recipients, text)
				}
				if strings.Contains(text, "Action: relayed") {
					relayed = text
				} else {
					failed = text
				}
			}
			if strings.Count(failed, "Action: failed") != 1 || !strings.Contains(failed, "Final-Recipient: rfc822; busy-too@fabrikam.example") || !strings.Contains(failed, "\r\nthe body\r\n") {
				t.Errorf("got the notification of failure\n%s", failed)
			}
			if offered == strings.Contains(relayed, "Original-Recipient: rfc822; alice@contoso.com") || strings.Contains(relayed, "the body") {
				t.Errorf("got the notification of relaying\n%s", relayed)
			}
			mail, alice, busy := seen.of("FROM:<"+sender), seen.of("TO:<alice"), seen.of("TO:<busy@")
			if offered {
				if !strings.HasSuffix(mail[0], " RET=FULL ENVID=QQ+2B314159") || alice[0] != "TO:<alice@fabrikam.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;alice@contoso.com" || !slices.Equal(busy, []string{"TO:<busy@fabrikam.example> NOTIFY=NEVER"}) {
					t.Errorf("got MAIL and RCPT %q, %q, %q at the tenant", mail, alice, busy)
				}
			} else if strings.Contains(mail[0], "ENVID") || alice[0] != "TO:<alice@fabrikam.example>" || !slices.Equal(busy, []string{"TO:<busy@fabrikam.example>"}) {
				t.Errorf("got MAIL and RCPT %q, %q, %q at the tenant", mail, alice, busy)
			}
		})
	}
}
