package endtoend

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"sealpost/tests/rigs/parts"
)

func TestToken_ExpiredAtTheServerIsReplacedWhileTheClientWaits(t *testing.T) {
	t.Parallel()
	const life = 2 * time.Second
	s := mailboxSite(t, told{})
	issuer := startIssuer(t, parts.IssuerClient{Secret: clientSecret})
	dovecot := startDovecot(t, issuer, "xoauth2")
	s.submit(dovecot.Port, issuer.TokenURL(), `grant = "secret"`)
	s.enterSecret()
	try(t, func() error {
		return issuer.SetTokenPolicy(parts.TokenPolicy{Lifetime: life, StatedLifetime: time.Hour})
	})
	s.start()
	s.mustDeliver()
	expired := time.Now().Add(life + time.Second)
	try(t, func() error { return issuer.SetTokenPolicy(parts.TokenPolicy{}) })
	try(t, dovecot.Restart)
	time.Sleep(time.Until(expired))
	s.mustDeliver()
	mustArrive(t, dovecot, 2)
	if n := len(tokenRequests(issuer, clientCredentials)); n != 2 || !strings.Contains(dovecot.Log(), "Token has expired") {
		t.Errorf("%d tokens were asked for, and Dovecot says\n%s", n, dovecot.Log())
	}
}

func TestToken_RevokedIsReplacedAndNotAskedForAgainAndAgain(t *testing.T) {
	t.Parallel()
	const refused = "535 5.7.3 Authentication unsuccessful"
	var mu sync.Mutex
	revoked, all := map[string]bool{}, false
	s, issuer, _, host := fronted(t, "5s", func(token string) string {
		mu.Lock()
		defer mu.Unlock()
		if all || revoked[token] {
			return refused
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
		t.Errorf("%d tokens were asked for after one was revoked", n)
	}
	mu.Lock()
	all = true
	mu.Unlock()
	host.DropConnections()
	s.mustKeep("the login of " + sender + " was refused: " + refused)
	time.Sleep(5 * time.Second)
	if n := len(tokenRequests(issuer, clientCredentials)); n > 3 {
		t.Errorf("%d tokens were asked for while none was taken", n)
	}
	mu.Lock()
	all = false
	mu.Unlock()
	s.awaitEmpty()
	await(t, host, 3)
}

func TestSignIn_RevokedHoldsTheMailUntilTheNext(t *testing.T) {
	t.Parallel()
	s := mailboxSite(t, told{upstream: "messages_per_minute = 0"})
	issuer := startIssuer(t, parts.IssuerClient{})
	dovecot := startDovecot(t, issuer, "xoauth2")
	s.submit(dovecot.Port, issuer.TokenURL(), `grant = "device"`)
	s.signIn(issuer)
	// It comes back without any knowledge of a sign-in.
	try(t, issuer.Stop)
	try(t, issuer.Start)
	s.start()
	s.mustKeep(signInAgain)
	s.stop()
	s.signIn(issuer)
	s.start()
	s.awaitEmpty()
	mustArrive(t, dovecot, 1)
}

const signInAgain = "the issuer does not accept the sign-in any more: sign in again with a device code (invalid_grant)"

// TestKill_BetweenARefreshTokenAndItsStoreLosesNoMail kills the relay where
// the issuer's answer has left the front, and the TPM was asked for nothing
// since: so the new refresh token is not sealed, let alone stored.
func TestKill_BetweenARefreshTokenAndItsStoreLosesNoMail(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		grace bool // for a refresh token that has been used, as Entra ID has
	}{{"with an issuer that gives grace", true}, {"with an issuer that gives none", false}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := mailboxSite(t, told{upstream: "hold = \"2s\"\nmessages_per_minute = 0"})
			issuer := startIssuer(t, parts.IssuerClient{})
			dovecot := startDovecot(t, issuer, "xoauth2")
			try(t, func() error { return issuer.SetTokenPolicy(parts.TokenPolicy{ReuseRefreshTokens: c.grace}) })
			before, tap := startFront(t, issuer), startTap(t, s.tpm)
			s.told.tpm = tap.address()
			s.submit(dovecot.Port, before.tokenURL(issuer), `grant = "device"`)
			s.signIn(issuer)
			before.behave(func(w http.ResponseWriter, r *http.Request) {
				// What is asked of the TPM from here on is to seal the answer.
				tap.stall()
				before.issuer.ServeHTTP(w, r)
			})
			s.start()
			if output, err := s.swaks(); err != nil || !strings.Contains(output, " is queued and will be sent") {
				t.Fatalf("swaks ended with %v: %s", err, output)
			}
			tap.awaitStalled(t)
			s.relay.Kill()
			asked := tokenRequests(issuer, refreshToken)
			if len(asked) != 1 || asked[0].Answer[refreshToken] == nil {
				t.Fatalf("the issuer was asked %v", asked)
			}
			before.behave(nil)
			tap.flow()
			s.start()
			if !c.grace {
				try(t, func() error { return s.relay.Await(signInAgain) })
				s.stop()
				s.signIn(issuer)
				s.start()
			}
			s.awaitEmpty()
			mustArrive(t, dovecot, 1)
		})
	}
}
