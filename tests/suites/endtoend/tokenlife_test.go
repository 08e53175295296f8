package endtoend

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"sealpost/tests/rigs/parts"
)

func TestExpiredToken_IsReplacedWhileTheClientWaits(t *testing.T) {
	t.Parallel()
	const lifetime = 2 * time.Second
	s := mailboxSite(t, siteConfig{})
	issuer := startIssuer(t, parts.IssuerClient{Secret: clientSecret})
	dovecot := startDovecot(t, issuer, "xoauth2")
	s.configureSubmission(dovecot.Port, issuer.TokenURL(), `grant = "secret"`)
	s.enterSecret()
	mustSucceed(t, func() error {
		return issuer.SetTokenPolicy(parts.TokenPolicy{Lifetime: lifetime, StatedLifetime: time.Hour})
	})
	s.start()
	s.mustDeliver()
	expired := time.Now().Add(lifetime + time.Second)
	mustSucceed(t, func() error { return issuer.SetTokenPolicy(parts.TokenPolicy{}) })
	mustSucceed(t, dovecot.Restart)
	time.Sleep(time.Until(expired))
	s.mustDeliver()
	mustArrive(t, dovecot, 2)
	if n := len(tokenRequests(issuer, clientCredentials)); n != 2 || !strings.Contains(dovecot.Log(), "Token has expired") {
		t.Errorf("got %d token requests, want 2; want \"Token has expired\" in Dovecot's log:\n%s", n, dovecot.Log())
	}
}

func TestRevokedToken_IsReplacedWithoutRepeatedRequests(t *testing.T) {
	t.Parallel()
	const rejection = "535 5.7.3 Authentication unsuccessful"
	var mu sync.Mutex
	revoked, rejectAll := map[string]bool{}, false
	s, issuer, _, host := proxiedSite(t, "5s", func(token string) string {
		mu.Lock()
		defer mu.Unlock()
		if rejectAll || revoked[token] {
			return rejection
		}
		return ""
	})
	s.start()
	s.mustDeliver()
	logins := host.Logins()
	if len(logins) == 0 {
		t.Fatal("the relay has not logged in")
	}
	mu.Lock()
	revoked[logins[0].Token] = true
	mu.Unlock()
	host.DropConnections()
	s.mustDeliver()
	if n := len(tokenRequests(issuer, clientCredentials)); n != 2 {
		t.Errorf("got %d token requests after one token was revoked, want 2", n)
	}
	mu.Lock()
	rejectAll = true
	mu.Unlock()
	host.DropConnections()
	s.mustQueue("the login of " + sender + " was refused: " + rejection)
	time.Sleep(5 * time.Second)
	if n := len(tokenRequests(issuer, clientCredentials)); n > 3 {
		t.Errorf("got %d token requests while every token was rejected, want at most 3", n)
	}
	mu.Lock()
	rejectAll = false
	mu.Unlock()
	s.awaitEmpty()
	awaitMessages(t, host, 3)
}

func TestRevokedSignIn_HoldsMailUntilTheNextSignIn(t *testing.T) {
	t.Parallel()
	s := mailboxSite(t, siteConfig{upstream: "messages_per_minute = 0"})
	issuer := startIssuer(t, parts.IssuerClient{})
	dovecot := startDovecot(t, issuer, "xoauth2")
	s.configureSubmission(dovecot.Port, issuer.TokenURL(), `grant = "device"`)
	s.signIn(issuer)
	// After a restart, the issuer knows no sign-in.
	mustSucceed(t, issuer.Stop)
	mustSucceed(t, issuer.Start)
	s.start()
	s.mustQueue(signInAgain)
	s.stop()
	s.signIn(issuer)
	s.start()
	s.awaitEmpty()
	mustArrive(t, dovecot, 1)
}

const signInAgain = "the issuer does not accept the sign-in any more: sign in again with a device code (invalid_grant)"

// TestKill_BeforeARefreshTokenIsStoredLosesNoMail kills the relay after the issuer
// has sent a new refresh token, and before the TPM gets the command that seals it.
func TestKill_BeforeARefreshTokenIsStoredLosesNoMail(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		reuse bool // the issuer accepts a used refresh token for a while, as Entra ID does
	}{{"issuer accepts reuse", true}, {"issuer rejects reuse", false}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := mailboxSite(t, siteConfig{upstream: "hold = \"2s\"\nmessages_per_minute = 0"})
			issuer := startIssuer(t, parts.IssuerClient{})
			dovecot := startDovecot(t, issuer, "xoauth2")
			mustSucceed(t, func() error { return issuer.SetTokenPolicy(parts.TokenPolicy{ReuseRefreshTokens: c.reuse}) })
			proxy, tpm := startIssuerProxy(t, issuer), startTPMProxy(t, s.tpm)
			s.config.tpm = tpm.address()
			s.configureSubmission(dovecot.Port, proxy.tokenURL(issuer), `grant = "device"`)
			s.signIn(issuer)
			proxy.setHandler(func(w http.ResponseWriter, r *http.Request) {
				// The next TPM command seals the new token.
				tpm.stall()
				proxy.issuer.ServeHTTP(w, r)
			})
			s.start()
			if output, err := s.swaks(); err != nil || !strings.Contains(output, " is queued and will be sent") {
				t.Fatalf("swaks: %v, want the reply \"is queued\"\n%s", err, output)
			}
			tpm.awaitStalled(t)
			s.relay.Kill()
			requests := tokenRequests(issuer, refreshToken)
			if len(requests) != 1 || requests[0].Response[refreshToken] == nil {
				t.Fatalf("got token requests %v, want one with a new refresh token", requests)
			}
			proxy.setHandler(nil)
			tpm.resume()
			s.start()
			if !c.reuse {
				mustSucceed(t, func() error { return s.relay.Await(signInAgain) })
				s.stop()
				s.signIn(issuer)
				s.start()
			}
			s.awaitEmpty()
			mustArrive(t, dovecot, 1)
		})
	}
}
