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

func TestCertificateGrant_SendsMailWithATokenForAnAssertionSignedByTheTPM(t *testing.T) {
	t.Parallel()
	for algorithm, mechanism := range map[string]string{"PS256": "xoauth2", "RS256": "oauthbearer"} {
		t.Run(algorithm+" and "+mechanism, func(t *testing.T) {
			t.Parallel()
			s := mailboxSite(t, siteConfig{})
			issuer := startIssuer(t, parts.IssuerClient{Certificate: s.certificate()})
			dovecot := startDovecot(t, issuer, mechanism)
			s.configureSubmission(dovecot.Port, issuer.TokenURL(), fmt.Sprintf("algorithm = %q", algorithm))
			s.start()
			s.mustDeliver()
			s.mustDeliver()
			mustArrive(t, dovecot, 2)
			if login := fmt.Sprintf("Login: user=<%s>, method=%s,", sender, strings.ToUpper(mechanism)); strings.Count(dovecot.Log(), login) != 1 {
				t.Errorf("want one %q in Dovecot's log:\n%s", login, dovecot.Log())
			}
			requests := tokenRequests(issuer, clientCredentials)
			if len(requests) != 1 || jwtHeader(requests[0].Form.Get("client_assertion"))["alg"] != algorithm {
				t.Errorf("got token requests %v, want one signed with %s", requests, algorithm)
			}
		})
	}
}

// jwtHeader decodes the header of a JWT (RFC 7519 section 5).
func jwtHeader(token string) map[string]any {
	header, _, _ := strings.Cut(token, ".")
	var fields map[string]any
	text, _ := base64.RawURLEncoding.DecodeString(header)
	_ = json.Unmarshal(text, &fields)
	return fields
}

func TestSecretGrant_SendsMail(t *testing.T) {
	t.Parallel()
	s := mailboxSite(t, siteConfig{})
	issuer := startIssuer(t, parts.IssuerClient{Secret: clientSecret})
	dovecot := startDovecot(t, issuer, "xoauth2")
	s.configureSubmission(dovecot.Port, issuer.TokenURL(), `grant = "secret"`)
	s.enterSecret()
	s.start()
	s.mustDeliver()
	mustArrive(t, dovecot, 1)
}

func TestDeviceGrant_SendsMailAndUsesEachRefreshTokenOnce(t *testing.T) {
	t.Parallel()
	s := mailboxSite(t, siteConfig{})
	issuer := startIssuer(t, parts.IssuerClient{})
	dovecot := startDovecot(t, issuer, "xoauth2")
	s.configureSubmission(dovecot.Port, issuer.TokenURL(), `grant = "device"`)
	s.signIn(issuer)
	mustSucceed(t, func() error { return issuer.SetTokenPolicy(parts.TokenPolicy{Lifetime: 2 * time.Second}) })
	const refreshes = 3
	for n := range refreshes {
		// Each start refreshes with the token that the previous run stored.
		s.start()
		s.mustDeliver()
		s.stop()
		mustArrive(t, dovecot, n+1)
	}
	used := map[string]bool{}
	for _, request := range tokenRequests(issuer, refreshToken) {
		token := request.Form.Get(refreshToken)
		if request.Status != http.StatusOK || used[token] {
			t.Errorf("a refresh token was rejected or used twice: status %d, %v", request.Status, request.Response["error"])
		}
		used[token] = true
	}
	if len(used) < refreshes {
		t.Errorf("got %d refreshes, want at least %d", len(used), refreshes)
	}
}

// forgeAssertion returns an assertion in the box's name, signed with another key.
func forgeAssertion(t *testing.T, leaf *x509.Certificate, audience string) string {
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

func TestCertificateGrant_RejectsAnAssertionSignedWithAnotherKey(t *testing.T) {
	t.Parallel()
	s := mailboxSite(t, siteConfig{})
	leaf := s.certificate()
	issuer := startIssuer(t, parts.IssuerClient{Certificate: leaf})
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: authority().Pool()}, DisableKeepAlives: true}}
	response, err := client.PostForm(issuer.TokenURL(), url.Values{
		"grant_type": {clientCredentials}, "client_id": {applicationID}, "scope": {"https://outlook.office365.com/.default"},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
		"client_assertion":      {forgeAssertion(t, leaf, issuer.TokenURL())},
	})
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusUnauthorized {
		t.Errorf("got status %s for a forged assertion, want 401", response.Status)
	}
}

func TestCertificateGrant_BoxThatIsNotRegisteredQueuesItsMail(t *testing.T) {
	t.Parallel()
	registered, other := mailboxSite(t, siteConfig{}), mailboxSite(t, siteConfig{})
	issuer := startIssuer(t, parts.IssuerClient{Certificate: registered.certificate()})
	dovecot := startDovecot(t, issuer, "xoauth2")
	other.configureSubmission(dovecot.Port, issuer.TokenURL(), "")
	other.start()
	const reason = "the issuer does not accept what the box identifies itself with: check the client ID, and the secret or certificate (invalid_client)"
	other.mustQueue(reason)
	if result := other.run("tenant", "verify"); result.Status != 1 || !strings.Contains(result.Out, reason) {
		t.Errorf("tenant verify: got %+v, want status 1 and %q", result, reason)
	}
	registered.configureSubmission(dovecot.Port, issuer.TokenURL(), "")
	if result := registered.run("tenant", "verify"); result.Status != 0 {
		t.Errorf("tenant verify: got %+v, want status 0", result)
	}
}
