package submission

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"unicode"

	"sealpost/relay/envelope"
	"sealpost/tests/rigs/tenant"
)

const unsuccessful = "535 5.7.3 Authentication unsuccessful [LO4P123CA0001.GBRP123.PROD.OUTLOOK.COM]"

// rejectFirst rejects the logins with the first tokens.
func rejectFirst(tokens int, text string) func(*tenant.Config) {
	return func(c *tenant.Config) {
		c.Submission.CheckLogin = func(_, token string) string {
			var n int
			if _, err := fmt.Sscanf(token, "very-secret-token-%d", &n); err != nil || n <= tokens {
				return text
			}
			return ""
		}
	}
}

func TestLogin_ReplacesARejectedTokenOnce(t *testing.T) {
	for name, c := range map[string]struct {
		reply       string
		connections int
	}{
		"on the same connection":                {unsuccessful, 1},
		"on another after a closed one":         {unsuccessful + tenant.HangUp, 2},
		"on another, with another text":         {"535 5.7.57 Client not authenticated to send mail" + tenant.HangUp, 2},
		"on the same, without an enhanced code": {"535 Authentication failed", 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, rejectFirst(1, c.reply), nil)
			result, err := s.deliver(message("1", printer), scan)
			if err != nil || !result.Accepted || s.tokens.issued != 2 || len(s.tenant.Logins()) != 2 || s.tenant.Connections() != c.connections {
				t.Errorf("got %+v, %v with %d tokens over %d connections, want accepted with 2 over %d", result, err, s.tokens.issued, s.tenant.Connections(), c.connections)
			}
			if found := secrets(s.log.String()); found != nil {
				t.Errorf("the journal contains %q", found)
			}
		})
	}
}

func TestLogin_ReportsAConfigurationFaultAfterTwoRejections(t *testing.T) {
	for name, c := range map[string]struct {
		reply  string
		text   string
		logins []int // in total, after each message
	}{
		"the token":                      {unsuccessful, "4.7.0 " + host + ": the login of " + printer + " was refused: " + unsuccessful + " (status 401, schemes Bearer, scope https://outlook.office.com/)", []int{2, 3, 4}},
		"a reply and a hang-up":          {unsuccessful + tenant.HangUp, "was refused: " + unsuccessful, []int{2, 3, 4}},
		"SMTP AUTH":                      {"535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant.", "SmtpClientAuthentication is disabled", []int{1, 2, 3}},
		"passwords":                      {"550 5.7.30 Basic authentication is not supported for Client Submission.", "Basic authentication is not supported", []int{1, 2, 3}},
		"a reply that repeats the token": {"535 5.7.3 very-secret no", "was refused", []int{2, 3, 4}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, rejectFirst(1000, c.reply), nil)
			for _, logins := range c.logins {
				_, err := s.deliver(message("1", printer), scan)
				u := unavailable(t, err)
				if !u.Configuration || !u.Account || !strings.Contains(u.ClientReply().String(), c.text) || !strings.HasPrefix(c.reply, fmt.Sprint(u.ServerReply.Code)) {
					t.Errorf("got %+v, want a configuration fault of the account with %q", u, c.text)
				}
				if n := len(s.tenant.Logins()); n != logins {
					t.Errorf("tried to log in %d times, want %d", n, logins)
				}
			}
			if tokens := min(2, c.logins[0]); s.tokens.issued != tokens {
				t.Errorf("got %d token requests, want %d", s.tokens.issued, tokens)
			}
			s.tenant.Reconfigure(tenant.Config{Certificate: must(authority().IssueP256(nil, host)), Submission: &tenant.Submission{CheckLogin: acceptLogin}})
			if result, err := s.deliver(message("2", printer), scan); err != nil || !result.Accepted {
				t.Errorf("after the correction: got %+v, %v, want accepted", result, err)
			}
		})
	}
}

func TestLogin_ReplacesAnExpiredTokenForEveryConnection(t *testing.T) {
	s := newSite(t, nil, nil)
	for round := range 3 {
		var burst sync.WaitGroup
		for i := range 12 {
			burst.Go(func() {
				if result, err := s.deliver(message(fmt.Sprint(i), printer), scan); err != nil || !result.Accepted {
					t.Errorf("got %+v, %v, want accepted", result, err)
				}
			})
		}
		burst.Wait()
		config := tenant.Config{Certificate: must(authority().IssueP256(nil, host)), Submission: &tenant.Submission{}}
		rejectFirst(round+1, unsuccessful)(&config)
		s.tenant.Reconfigure(config)
	}
	if s.tokens.issued != 3 {
		t.Errorf("got %d tokens issued, want 3", s.tokens.issued)
	}
}

func TestLogin_IsRepeatedWhenTheServerForgetsIt(t *testing.T) {
	s := newSite(t, nil, nil)
	if _, err := s.deliver(message("1", printer), scan); err != nil {
		t.Fatal(err)
	}
	first := true
	s.tenant.SetScript(func(verb, _ string) string {
		if verb == "MAIL" && first {
			first = false
			return "530 5.7.57 Client not authenticated to send mail"
		}
		return ""
	})
	if result, err := s.deliver(message("2", printer), scan); err != nil || !result.Accepted || len(s.tenant.Logins()) != 2 {
		t.Errorf("got %+v, %v after %d logins, want accepted after 2", result, err, len(s.tenant.Logins()))
	}
}

// needsConsent is a token error that a person must correct.
type needsConsent struct{}

func (needsConsent) Error() string       { return "AADSTS65001: the app has no consent: grant it" }
func (needsConsent) Configuration() bool { return true }

func TestLogin_ReportsTheTokenError(t *testing.T) {
	for _, c := range []struct {
		err           error
		text          string
		configuration bool
	}{
		{needsConsent{}, "4.7.0 no access token for the login: AADSTS65001: the app has no consent: grant it", true},
		{fmt.Errorf("requesting a token: %w", needsConsent{}), "grant it", true},
		{errors.New("login.microsoftonline.com cannot be reached"), "no access token for the login: login.microsoftonline.com cannot be reached", false},
	} {
		s := newSite(t, nil, nil)
		s.tokens.err = c.err
		_, err := s.deliver(message("1", printer), scan)
		if u := unavailable(t, err); u.Configuration != c.configuration || u.DuringTransaction || !strings.Contains(u.ClientReply().String(), c.text) {
			t.Errorf("got %+v, want configuration %t with %q", u, c.configuration, c.text)
		}
		if opened := s.tenant.Connections(); opened != 0 {
			t.Errorf("got %d connections without a token, want none", opened)
		}
	}
}

func TestLogin_ReportsAMissingMechanism(t *testing.T) {
	for text, change := range map[string]func(*tenant.Config){
		"no login by OAuth is offered, only LOGIN, PLAIN: check upstream.submission.host and its port": func(c *tenant.Config) { c.Submission.Mechanisms = []string{"LOGIN", "PLAIN"} },
		"no login is offered: check upstream.submission.host and its port":                             func(c *tenant.Config) { c.Submission = nil },
		"does not offer STARTTLS; mail is never sent in clear":                                         func(c *tenant.Config) { c.NoSTARTTLS = true },
	} {
		s := newSite(t, change, nil)
		_, err := s.deliver(message("1", printer), scan)
		u := unavailable(t, err)
		if !strings.Contains(u.Reason, text) || len(s.tenant.Logins()) != 0 || u.Configuration == (text[:4] == "does") {
			t.Errorf("got %+v with %d logins, want none and the reason %q", u, len(s.tenant.Logins()), text)
		}
	}
}

func TestLogin_IsTemporaryFor4yz(t *testing.T) {
	s := newSite(t, rejectFirst(1000, "454 4.7.0 Temporary authentication failure"), nil)
	_, err := s.deliver(message("1", printer), scan)
	if u := unavailable(t, err); u.Configuration || u.DuringTransaction || u.ServerReply.Code != 454 || len(s.tenant.Logins()) != 1 || s.tokens.issued != 1 {
		t.Errorf("got %+v after %d logins, want a temporary fault with reply 454 after 1", u, len(s.tenant.Logins()))
	}
}

func TestLogin_KeepsOtherMailboxesAfterARejection(t *testing.T) {
	s := newSite(t, func(c *tenant.Config) {
		c.Submission.CheckLogin = func(user, _ string) string {
			if user == ups {
				return unsuccessful
			}
			return ""
		}
	}, func(c *Config) { c.User = func(sender envelope.Address) envelope.Address { return sender } })
	var burst sync.WaitGroup
	for i := range 20 {
		burst.Go(func() {
			e, text := message(fmt.Sprint(i), printer), scan
			if i%2 == 0 {
				e.Sender, text = ups, alarm
			}
			result, err := s.deliver(e, text)
			if accepted := err == nil && result.Accepted; accepted != (e.Sender == printer) {
				t.Errorf("%s: got %+v, %v, want only mail of %s accepted", e.Sender, result, err, printer)
			}
		})
	}
	burst.Wait()
}

func TestLogin_LimitsStoredRejections(t *testing.T) {
	s := newSite(t, nil, nil).submission
	for i := range 10 * maxRejected {
		(&login{Submission: s, account: fmt.Sprint(i, "@contoso.com")}).invalidateToken("very-secret-token-1")
	}
	if n := len(s.rejected); n > maxRejected {
		t.Errorf("got %d stored rejections, want at most %d", n, maxRejected)
	}
}

func FuzzReasonText(f *testing.F) {
	f.Add([]byte(`{"status":"401","schemes":"Bearer","scope":"https://outlook.office.com/"}`))
	f.Add([]byte(`{"status":401}`))
	f.Add([]byte("{\"status\":\"very-secret-token\\u001b[2J\"}"))
	const token = "very-secret-token"
	f.Fuzz(func(t *testing.T, challenge []byte) {
		b := newTokenMechanism(xoauth2, printer, token, host, 587)
		if response, err := b.Next(challenge); len(response) != 0 || err != nil {
			t.Errorf("got response %q, %v", response, err)
		}
		text := b.reasonText()
		if len(text) > 400 || strings.Contains(text, token) || strings.ContainsFunc(text, unicode.IsControl) {
			t.Errorf("%q: got text %q", challenge, text)
		}
	})
}
