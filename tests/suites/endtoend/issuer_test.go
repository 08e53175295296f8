package endtoend

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"sealpost/tests/rigs/parts"
	"sealpost/tests/rigs/tenant"
)

// proxiedSite returns a box that reaches a real issuer through a proxy and submits
// to a mock tenant.
func proxiedSite(t *testing.T, hold string, checkToken func(token string) string) (*site, *parts.Issuer, *issuerProxy, *tenant.Tenant) {
	t.Helper()
	// The retries of these tests alone would reach the rate limit.
	s := mailboxSite(t, siteConfig{upstream: fmt.Sprintf("hold = %q\ntimeout = \"2s\"\nmessages_per_minute = 0", hold)})
	issuer := startIssuer(t, parts.IssuerClient{Secret: clientSecret})
	proxy := startIssuerProxy(t, issuer)
	host := startMailbox(t, checkToken, tenant.Submission{})
	s.configureSubmission(host.Address().Port, proxy.tokenURL(issuer), `grant = "secret"`)
	s.enterSecret()
	return s, issuer, proxy, host
}

func TestIssuerFault_IsReportedAndLosesNoMail(t *testing.T) {
	t.Parallel()
	s, _, issuer, host := proxiedSite(t, "5s", acceptAnyToken)
	goodCertificate := serverCertificate(t)
	wrongName := must(authority().IssueP256(nil, "elsewhere.example"))
	for _, fault := range []struct {
		name, reason string
		inject       func()
	}{
		{"web page", "localhost returned a web page instead of a token: check the token URL", func() {
			issuer.setHandler(respondWith(http.StatusOK, "<!DOCTYPE html><title>Welcome to the hotel</title>"))
		}},
		{"server error", "localhost returned HTTP status 500, a server error: wait", func() {
			issuer.setHandler(respondWith(http.StatusInternalServerError, "oops"))
		}},
		{"too many requests", "localhost returned HTTP status 429, too many requests: wait", func() { issuer.setHandler(tooManyRequests(time.Minute)) }},
		{"response of 10 MB", "localhost returned a response of more than 64 KiB, which is not a token: check the token URL", func() {
			issuer.setHandler(respondWith(http.StatusOK, `{"access_token":"`+strings.Repeat("x", 10<<20)+`"}`))
		}},
		{"response without end", "localhost returned no complete response within 1s: check the internet connection, and that the site allows outbound port 443", func() { issuer.setHandler(endlessResponse) }},
		{"certificate for another name", "the certificate of localhost is not trusted: it is for another name; check the token URL", func() { issuer.setCertificate(wrongName) }},
	} {
		t.Run(fault.name, func(t *testing.T) {
			arrived := len(host.Messages())
			fault.inject()
			s.start()
			s.mustQueue(fault.reason)
			if cause, _ := s.events("no access token", 1)[0]["cause"].(string); !strings.Contains(cause, fault.reason) {
				t.Errorf("got cause %q, want %q", cause, fault.reason)
			}
			s.stop()
			issuer.setHandler(nil)
			issuer.setCertificate(goodCertificate)
			// A restart skips the delay after a failed request.
			s.start()
			s.awaitEmpty()
			s.stop()
			if n := len(host.Messages()) - arrived; n != 1 {
				t.Errorf("got %d messages, want 1", n)
			}
		})
	}
}

func TestIssuer_RetryAfterIsHonoured(t *testing.T) {
	t.Parallel()
	// Longer than the six seconds that the relay waits without Retry-After.
	const wait = 7 * time.Second
	s, _, issuer, host := proxiedSite(t, "1s", acceptAnyToken)
	issuer.setHandler(tooManyRequests(wait))
	s.start()
	for range 3 {
		s.mustQueue("too many requests")
	}
	issuer.setHandler(nil)
	awaitMessages(t, host, 3)
	times := issuer.requestTimes()
	if len(times) != 2 || times[1].Sub(times[0]) < wait {
		t.Errorf("got requests at %v, want two at least %s apart", times, wait)
	}
}

// outageDuration returns how long the issuer is down. The environment variable OUTAGE
// overrides it, such as 1h.
func outageDuration() time.Duration {
	down, err := time.ParseDuration(os.Getenv("OUTAGE"))
	if err != nil {
		return 2 * time.Second
	}
	return down
}

// TestIssuerOutage_LongerThanATokenLifetimeLosesNoMail restarts the relay at the end:
// it then requests a token immediately and not after minutes.
func TestIssuerOutage_LongerThanATokenLifetimeLosesNoMail(t *testing.T) {
	t.Parallel()
	const lifetime = 4 * time.Second
	s := mailboxSite(t, siteConfig{upstream: "hold = \"1s\"\nmessages_per_minute = 0"})
	issuer := startIssuer(t, parts.IssuerClient{Secret: clientSecret})
	mustSucceed(t, func() error { return issuer.SetTokenPolicy(parts.TokenPolicy{Lifetime: lifetime}) })
	dovecot := startDovecot(t, issuer, "xoauth2")
	s.configureSubmission(dovecot.Port, issuer.TokenURL(), `grant = "secret"`)
	s.enterSecret()
	s.start()
	s.mustDeliver()
	mustSucceed(t, issuer.Stop)
	mustSucceed(t, dovecot.Restart)
	time.Sleep(lifetime)
	const (
		reason = "localhost refused the connection: check that the site allows outbound port 443, and the token URL"
		queued = 6
	)
	for range queued {
		s.mustQueue(reason)
		time.Sleep(outageDuration() / queued)
	}
	t.Logf("%[2]d token requests failed in %[1]s", outageDuration(), len(s.relay.Log.Events("no access token")))
	s.relay.Kill()
	s.start()
	s.mustQueue(reason)
	failed := s.relay.Log.Events("no access token")
	if len(failed) != 1 {
		t.Errorf("got %d failed token requests after the restart, want 1", len(failed))
	}
	mustSucceed(t, issuer.Start)
	s.awaitEmpty()
	mustArrive(t, dovecot, 1+queued+1)
}
