package endtoend

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"sealpost/tests/parts"
	"sealpost/tests/tenant"
)

// fronted is a box whose way to a real issuer leads through a front, and that
// submits to a stand-in.
func fronted(t *testing.T, hold string, judge func(token string) string) (*site, *parts.Issuer, *front, *tenant.Tenant) {
	t.Helper()
	// So often as these tests try again, the attempts alone would reach a limit.
	s := mailboxSite(t, told{upstream: fmt.Sprintf("hold = %q\nmessages_per_minute = 0", hold)})
	issuer := startIssuer(t, parts.IssuerClient{Secret: clientSecret})
	before := startFront(t, issuer)
	host := startMailbox(t, judge, tenant.Submission{})
	s.submit(host.Address().Port, before.tokenURL(issuer), `grant = "secret"`)
	s.enterSecret()
	return s, issuer, before, host
}

func TestMailOutlivesEveryMoodOfTheIssuerAndTheWordsSayWhatIsWrong(t *testing.T) {
	t.Parallel()
	s, _, issuer, host := fronted(t, "2s", anyToken)
	elsewhere := must(authority().IssueP256(nil, "elsewhere.example"))
	for _, mood := range []struct {
		name, words string
		be          func()
	}{
		{"a web page", "localhost answered with a web page in place of a token: check the token URL", func() {
			issuer.behave(answering(http.StatusOK, "<!DOCTYPE html><title>Welcome to the hotel</title>"))
		}},
		{"a fault of its own", "localhost answered with HTTP status 500, a fault of its own: wait", func() {
			issuer.behave(answering(http.StatusInternalServerError, "oops"))
		}},
		{"too many requests", "localhost answered with HTTP status 429, as it was asked too often: wait", func() { issuer.behave(tooMany(time.Minute)) }},
		{"10 MB", "localhost gave an answer of more than 64 KiB, which is no token: check the token URL", func() {
			issuer.behave(answering(http.StatusOK, `{"access_token":"`+strings.Repeat("x", 10<<20)+`"}`))
		}},
		{"another name", "the certificate of localhost is not trusted: it is for another name; check the token URL", func() { issuer.shows(elsewhere) }},
	} {
		t.Run(mood.name, func(t *testing.T) {
			mood.be()
			s.start()
			defer s.stop()
			s.mustKeep(mood.words)
			if cause, _ := s.events("no access token", 1)[0]["cause"].(string); !strings.Contains(cause, mood.words) {
				t.Errorf("the journal says %q", cause)
			}
		})
	}
	issuer.behave(nil)
	issuer.shows(serverCertificate(t))
	s.start()
	await(t, host, 5)
	s.awaitEmpty()
	if n := len(host.Messages()); n != 5 {
		t.Errorf("%d messages arrived", n)
	}
}

func TestAnIssuerThatNeverEndsItsAnswerCostsNoMessage(t *testing.T) {
	t.Parallel()
	s, _, issuer, host := fronted(t, "2s", anyToken)
	issuer.behave(slow)
	s.start()
	if output, err := s.swaks(); err != nil || !strings.Contains(output, " is safe in the spool and will be sent") {
		t.Errorf("swaks ended with %v: %s", err, output)
	}
	try(t, func() error { return s.relay.Await("no access token") })
	issuer.behave(nil)
	await(t, host, 1)
	s.awaitEmpty()
	const words = "localhost gave no whole answer within 30s: check the line"
	if cause, _ := s.events("no access token", 1)[0]["cause"].(string); !strings.Contains(cause, words) {
		t.Errorf("the journal says %q", cause)
	}
}

func TestAnIssuerThatAsksForPatienceIsGivenIt(t *testing.T) {
	t.Parallel()
	const wait = 10 * time.Second
	s, _, issuer, host := fronted(t, "1s", anyToken)
	issuer.behave(tooMany(wait))
	s.start()
	for range 3 {
		s.mustKeep("asked too often")
	}
	issuer.behave(nil)
	await(t, host, 3)
	times := issuer.times()
	if len(times) != 2 || times[1].Sub(times[0]) < wait {
		t.Errorf("it was asked at %v", times)
	}
}
