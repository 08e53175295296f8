package endtoend

import (
	"strings"
	"testing"

	"sealpost/tests/dialogue"
)

func TestSeveralRecipientsWithDifferentAnswersAreToldApart(t *testing.T) {
	t.Parallel()
	config := tenantConfig(t)
	config.Script = func(verb, argument string) string {
		switch {
		case verb == "RCPT" && strings.Contains(argument, "unknown"):
			return "550 5.1.1 User unknown"
		case verb == "RCPT" && strings.Contains(argument, "busy"):
			return "451 4.7.1 greylisted"
		}
		return ""
	}
	upstream := startTenant(t, config)
	s := relaySite(t, told{host: "localhost", port: upstream.Address().Port}, clientCertificate(t, authority()))
	if err := dialogue.Play(s.dial("127.0.0.1"), "testdata/mixed.dialogue"); err != nil {
		t.Errorf("%v\n%s", err, s.relay.Log)
	}
	if messages := upstream.Messages(); len(messages) != 1 || strings.Join(messages[0].Recipients, " ") != recipient {
		t.Errorf("the tenant has %d messages", len(messages))
	}
	answers := map[string]string{}
	for _, event := range s.events("recipient", 4)[:3] {
		answers[event["to"].(string)] = event["answer"].(string)
	}
	for to, answer := range map[string]string{"<" + recipient + ">": "250 2.1.5", "<unknown@fabrikam.example>": "550 5.1.1", "<busy@fabrikam.example>": "451 4.7.1"} {
		if !strings.HasPrefix(answers[to], answer) {
			t.Errorf("the journal has %q for %s", answers[to], to)
		}
	}
}
