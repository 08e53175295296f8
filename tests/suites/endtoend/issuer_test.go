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

// fronted is a box whose way to a real issuer leads through a front, and that
// submits to a stand-in.
func fronted(t *testing.T, hold string, judge func(token string) string) (*site, *parts.Issuer, *front, *tenant.Tenant) {
	t.Helper()
	// So often as these tests try again, the attempts alone would reach a limit.
	s := mailboxSite(t, told{upstream: fmt.Sprintf("hold = %q\ntimeout = \"2s\"\nmessages_per_minute = 0", hold)})
	issuer := startIssuer(t, parts.IssuerClient{Secret: clientSecret})
	before := startFront(t, issuer)
	host := startMailbox(t, judge, tenant.Submission{})
	s.submit(host.Address().Port, before.tokenURL(issuer), `grant = "secret"`)
	s.enterSecret()
	return s, issuer, before, host
}

func TestIssuerFault_IsNamedAndLosesNoMail(t *testing.T) {
	t.Parallel()
	s, _, issuer, host := fronted(t, "5s", anyToken)
	honest := serverCertificate(t)
	elsewhere := must(authority().IssueP256(nil, "elsewhere.example"))
	for _, mood := range []struct {
		name, words string
		be          func()
	}{
		{"a web page", "localhost returned a web page instead of a token: check the token URL", func() {
			issuer.behave(answering(http.StatusOK, "<!DOCTYPE html><title>Welcome to the hotel</title>"))
		}},
		{"a fault of its own", "localhost returned HTTP status 500, a server error: wait", func() {
			issuer.behave(answering(http.StatusInternalServerError, "oops"))
		}},
		{"too many requests", "localhost returned HTTP status 429, too many requests: wait", func() { issuer.behave(tooMany(time.Minute)) }},
		{"10 MB", "localhost returned a response of more than 64 KiB, which is not a token: check the token URL", func() {
			issuer.behave(answering(http.StatusOK, `{"access_token":"`+strings.Repeat("x", 10<<20)+`"}`))
		}},
		{"an answer without end", "localhost returned no complete response within 1s: check the internet connection, and that the site allows outbound port 443", func() { issuer.behave(slow) }},
		{"another name", "the certificate of localhost is not trusted: it is for another name; check the token URL", func() { issuer.shows(elsewhere) }},
	} {
		t.Run(mood.name, func(t *testing.T) {
			arrived := len(host.Messages())
			mood.be()
			s.start()
			s.mustKeep(mood.words)
			if cause, _ := s.events("no access token", 1)[0]["cause"].(string); !strings.Contains(cause, mood.words) {
				t.Errorf("the journal says %q", cause)
			}
			s.stop()
			issuer.behave(nil)
			issuer.shows(honest)
			// A start asks at once and not after the pause that a failure costs.
			s.start()
			s.awaitEmpty()
			s.stop()
			if n := len(host.Messages()) - arrived; n != 1 {
				t.Errorf("%d messages arrived", n)
			}
		})
	}
}

func TestIssuer_IsAskedAgainNoSoonerThanItSaid(t *testing.T) {
	t.Parallel()
	// Without being asked it would wait six seconds at most.
	const wait = 7 * time.Second
	s, _, issuer, host := fronted(t, "1s", anyToken)
	issuer.behave(tooMany(wait))
	s.start()
	for range 3 {
		s.mustKeep("too many requests")
	}
	issuer.behave(nil)
	await(t, host, 3)
	times := issuer.times()
	if len(times) != 2 || times[1].Sub(times[0]) < wait {
		t.Errorf("it was asked at %v", times)
	}
}

// outage is how long an issuer is down; OUTAGE in the environment asks for more,
// such as 1h.
func outage() time.Duration {
	down, err := time.ParseDuration(os.Getenv("OUTAGE"))
	if err != nil {
		return 2 * time.Second
	}
	return down
}

// TestIssuerOutage_LosesNoMailEvenBeyondTheLifeOfAToken has the relay start
// again at the end, because it then asks at once and not after minutes.
func TestIssuerOutage_LosesNoMailEvenBeyondTheLifeOfAToken(t *testing.T) {
	t.Parallel()
	const life = 4 * time.Second
	s := mailboxSite(t, told{upstream: "hold = \"1s\"\nmessages_per_minute = 0"})
	issuer := startIssuer(t, parts.IssuerClient{Secret: clientSecret})
	try(t, func() error { return issuer.SetTokenPolicy(parts.TokenPolicy{Lifetime: life}) })
	dovecot := startDovecot(t, issuer, "xoauth2")
	s.submit(dovecot.Port, issuer.TokenURL(), `grant = "secret"`)
	s.enterSecret()
	s.start()
	s.mustDeliver()
	try(t, issuer.Stop)
	try(t, dovecot.Restart)
	time.Sleep(life)
	const (
		words = "localhost refused the connection: check that the site allows outbound port 443, and the token URL"
		kept  = 6
	)
	for range kept {
		s.mustKeep(words)
		time.Sleep(outage() / kept)
	}
	t.Logf("in %s the issuer was asked %d times", outage(), len(s.relay.Log.Events("no access token")))
	s.relay.Kill()
	s.start()
	s.mustKeep(words)
	asked := s.relay.Log.Events("no access token")
	if len(asked) != 1 {
		t.Errorf("it asked %d times within a moment", len(asked))
	}
	try(t, issuer.Start)
	s.awaitEmpty()
	mustArrive(t, dovecot, 1+kept+1)
}
