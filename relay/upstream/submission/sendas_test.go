package submission

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"sealpost/relay/envelope"
	"sealpost/tests/rigs/tenant"
)

const ups = "ups@contoso.com"

const alarm content = "From: \"UPS, cellar\" <" + ups + ">\r\nSubject: on battery\r\n\r\n20 minutes\r\n"

func TestSendAs_RejectsTheMessageOfADeniedSender(t *testing.T) {
	for name, c := range map[string]struct {
		config  func(*Config)
		trustee string
	}{
		"a mailbox":                  {nil, printer},
		"an application":             {func(c *Config) { c.Trustee = "Sealpost" }, "Sealpost"},
		"mail of the default sender": {func(c *Config) { c.DefaultSender = ups }, printer},
		"a denied default sender":    {func(c *Config) { c.DefaultSender = "nobody@contoso.com" }, printer},
	} {
		s := newSite(t, nil, c.config)
		result, err := s.deliver(message("1", ups), alarm)
		if err != nil || result.Accepted || result.Trustee != c.trustee || len(s.tenant.Messages()) != 0 {
			t.Fatalf("%s: got %+v, %v, want not accepted, trustee %s", name, result, err, c.trustee)
		}
		if got := result.Replies[0]; got.Code != 554 || got.Status.Detail != 252 || !strings.Contains(got.Text, ups) {
			t.Errorf("%s: got reply %s", name, got)
		}
	}
}

func TestSendAs_ReplacesADeniedSender(t *testing.T) {
	for name, mailReply := range map[string]string{"after the content": "", "at MAIL": "550 5.7.60 SMTP; Client does not have permissions to send as this sender"} {
		s := newSite(t, nil, func(c *Config) { c.DefaultSender = printer })
		s.tenant.SetScript(func(verb, argument string) string {
			if verb == "MAIL" && strings.Contains(argument, ups) {
				return mailReply
			}
			return ""
		})
		result, err := s.deliver(message("1", ups), alarm)
		if err != nil || !result.Accepted {
			t.Fatalf("%s: got %+v, %v, want accepted", name, result, err)
		}
		got := s.tenant.Messages()
		const want = "From: \"UPS, cellar\" <" + printer + ">\r\nReply-To: " + ups + "\r\nSubject: on battery\r\n\r\n20 minutes\r\n"
		if len(got) != 1 || got[0].Sender != printer || string(got[0].Content) != want {
			t.Errorf("%s: the tenant got %+v, %q", name, got, got[0].Content)
		}
		if log := s.log.String(); !strings.Contains(log, `"event":"sender replaced","id":"1","given":"<`+ups) {
			t.Errorf("%s: the journal contains\n%s", name, log)
		}
	}
}

func TestSendAs_AsksNoSuccessForTheDefaultSender(t *testing.T) {
	s := newSite(t, nil, func(c *Config) { c.DefaultSender = printer })
	var mu sync.Mutex
	var rcpt []string
	s.tenant.SetScript(func(verb, argument string) string {
		mu.Lock()
		defer mu.Unlock()
		if verb == "RCPT" && !slices.Contains(rcpt, argument) {
			rcpt = append(rcpt, argument)
		}
		return ""
	})
	e := message("1", ups)
	e.DSN.Set(0, envelope.RecipientDSN{Notify: envelope.NotifySuccess | envelope.NotifyFailure})
	result, err := s.deliver(e, alarm)
	if err != nil || !result.Accepted || result.DSN {
		t.Errorf("%+v, %v", result, err)
	}
	if result, err = s.deliver(message("2", printer), "From: "+printer+"\r\n\r\nx\r\n"); err != nil || !result.DSN {
		t.Errorf("%+v, %v", result, err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(rcpt) != 3 || !strings.HasSuffix(rcpt[0], "NOTIFY=SUCCESS,FAILURE") || !strings.HasSuffix(rcpt[1], "NOTIFY=FAILURE") {
		t.Errorf("the tenant got %q", rcpt)
	}
}

func TestSendAs_ReplacesADeniedAuthor(t *testing.T) {
	s := newSite(t, nil, func(c *Config) { c.DefaultSender = printer })
	result, err := s.deliver(message("1", printer), alarm)
	if err != nil || !result.Accepted || !strings.Contains(string(s.tenant.Messages()[0].Content), "Reply-To: "+ups) {
		t.Errorf("got %+v, %v", result, err)
	}
}

func TestSendAs_SendsAsAPermittedSender(t *testing.T) {
	s := newSite(t, func(c *tenant.Config) {
		c.Submission.SendAs = func(user, sender string) bool { return sender == ups }
	}, nil)
	if result, err := s.deliver(message("1", ups), alarm); err != nil || !result.Accepted || s.tenant.Messages()[0].User != printer {
		t.Errorf("got %+v, %v", result, err)
	}
}

func TestSendAs_RefusesAHeaderThatCannotBeChanged(t *testing.T) {
	s := newSite(t, nil, func(c *Config) { c.DefaultSender = envelope.Address(printer) })
	long := content("X: " + strings.Repeat("x", 2<<20) + "\r\n" + string(alarm))
	if result, err := s.deliver(message("1", ups), long); err != nil || result.Accepted || result.Replies[0].Status.Detail != 252 {
		t.Errorf("got %+v, %v", result, err)
	}
}
