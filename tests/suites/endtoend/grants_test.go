package endtoend

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"sealpost/tests/rigs/parts"
)

func TestCertificateGrant_SendsMailOnATokenSignedForByTheTPM(t *testing.T) {
	t.Parallel()
	for algorithm, mechanism := range map[string]string{"PS256": "xoauth2", "RS256": "oauthbearer"} {
		t.Run(algorithm+" and "+mechanism, func(t *testing.T) {
			t.Parallel()
			s := mailboxSite(t, told{})
			issuer := startIssuer(t, parts.IssuerClient{Certificate: s.certificate()})
			dovecot := startDovecot(t, issuer, mechanism)
			s.submit(dovecot.Port, issuer.TokenURL(), fmt.Sprintf("algorithm = %q", algorithm))
			s.start()
			s.mustDeliver()
			s.mustDeliver()
			mustArrive(t, dovecot, 2)
			if login := fmt.Sprintf("Login: user=<%s>, method=%s,", sender, strings.ToUpper(mechanism)); strings.Count(dovecot.Log(), login) != 1 {
				t.Errorf("Dovecot says\n%s", dovecot.Log())
			}
			asked := tokenRequests(issuer, clientCredentials)
			if len(asked) != 1 || headerOf(asked[0].Form.Get("client_assertion"))["alg"] != algorithm {
				t.Errorf("the issuer was asked %v", asked)
			}
		})
	}
}

// headerOf is a JWT's (RFC 7519, 5).
func headerOf(token string) map[string]any {
	header, _, _ := strings.Cut(token, ".")
	var fields map[string]any
	text, _ := base64.RawURLEncoding.DecodeString(header)
	_ = json.Unmarshal(text, &fields)
	return fields
}

func TestSecretGrant_SendsMail(t *testing.T) {
	t.Parallel()
	s := mailboxSite(t, told{})
	issuer := startIssuer(t, parts.IssuerClient{Secret: clientSecret})
	dovecot := startDovecot(t, issuer, "xoauth2")
	s.submit(dovecot.Port, issuer.TokenURL(), `grant = "secret"`)
	s.enterSecret()
	s.start()
	s.mustDeliver()
	mustArrive(t, dovecot, 1)
}

func TestDeviceGrant_SendsMailAndUsesEachRefreshTokenOnce(t *testing.T) {
	t.Parallel()
	s := mailboxSite(t, told{})
	issuer := startIssuer(t, parts.IssuerClient{})
	dovecot := startDovecot(t, issuer, "xoauth2")
	s.submit(dovecot.Port, issuer.TokenURL(), `grant = "device"`)
	s.signIn(issuer)
	try(t, func() error { return issuer.SetTokenPolicy(parts.TokenPolicy{Lifetime: 2 * time.Second}) })
	const refreshes = 3
	for n := range refreshes {
		// Each start asks again, with the token that the previous one stored.
		s.start()
		s.mustDeliver()
		s.stop()
		mustArrive(t, dovecot, n+1)
	}
	used := map[string]bool{}
	for _, request := range tokenRequests(issuer, refreshToken) {
		token := request.Form.Get(refreshToken)
		if request.Status != http.StatusOK || used[token] {
			t.Errorf("a refresh token was refused or used twice: %d, %v", request.Status, request.Answer["error"])
		}
		used[token] = true
	}
	if len(used) < refreshes {
		t.Errorf("there were %d refreshes", len(used))
	}
}

// forge is an assertion in the box's name, signed by a key that is not its own.
func forge(t *testing.T, leaf *x509.Certificate, audience string) string {
	t.Helper()
	key := must(rsa.GenerateKey(rand.Reader, 2048))
	part := func(v any) string { return base64.RawURLEncoding.EncodeToString(must(json.Marshal(v))) }
	thumbprint := sha256.Sum256(leaf.Raw)
	now := time.Now().Unix()
	signed := part(map[string]any{"alg": "PS256", "typ": "JWT", "x5t#S256": base64.RawURLEncoding.EncodeToString(thumbprint[:])}) + "." +
		part(map[string]any{"aud": audience, "iss": applicationID, "sub": applicationID, "jti": rand.Text(), "iat": now, "nbf": now, "exp": now + 600})
	digest := sha256.Sum256([]byte(signed))
	signature := must(rsa.SignPSS(rand.Reader, key, crypto.SHA256, digest[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}))
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func TestCertificateGrant_GivesNoTokenForAForeignKey(t *testing.T) {
	t.Parallel()
	s := mailboxSite(t, told{})
	leaf := s.certificate()
	issuer := startIssuer(t, parts.IssuerClient{Certificate: leaf})
	browser := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: authority().Pool()}, DisableKeepAlives: true}}
	response, err := browser.PostForm(issuer.TokenURL(), url.Values{
		"grant_type": {clientCredentials}, "client_id": {applicationID}, "scope": {"https://outlook.office365.com/.default"},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
		"client_assertion":      {forge(t, leaf, issuer.TokenURL())},
	})
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusUnauthorized {
		t.Errorf("a forged assertion was answered with %s", response.Status)
	}
}

func TestCertificateGrant_GivesNoTokenToAnotherBoxWhichQueuesItsMail(t *testing.T) {
	t.Parallel()
	registered, other := mailboxSite(t, told{}), mailboxSite(t, told{})
	issuer := startIssuer(t, parts.IssuerClient{Certificate: registered.certificate()})
	dovecot := startDovecot(t, issuer, "xoauth2")
	other.submit(dovecot.Port, issuer.TokenURL(), "")
	other.start()
	const words = "the issuer does not accept what the box identifies itself with: check the client ID, and the secret or certificate (invalid_client)"
	other.mustKeep(words)
	if result := other.run("tenant", "verify"); result.Status != 1 || !strings.Contains(result.Out, words) {
		t.Errorf("verify says %+v", result)
	}
	registered.submit(dovecot.Port, issuer.TokenURL(), "")
	if result := registered.run("tenant", "verify"); result.Status != 0 {
		t.Errorf("verify says %+v", result)
	}
}
