package oauth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestClientSecret_ObtainsAToken(t *testing.T) {
	server := serve(t, respondInTurn(tokenResponse("access", "", 3600)))
	grant := must(newIssuer(t, server.Server, nil).ClientSecret(NewSecret("hush")))
	begun := time.Now()
	token, err := grant.Token(t.Context())
	if err != nil || token.Bearer.Reveal() != "access" {
		t.Fatalf("Token() = %q, %v", token.Bearer.Reveal(), err)
	}
	if life := token.Expires.Sub(begun); life < time.Hour || life > time.Hour+time.Minute {
		t.Errorf("got lifetime %v, want 1h", life)
	}
	form := server.requests()[0]
	for name, want := range map[string]string{"grant_type": "client_credentials", "client_id": clientID, "client_secret": "hush", "scope": scope} {
		if form.Get(name) != want {
			t.Errorf("%s = %q, want %q", name, form.Get(name), want)
		}
	}
}

// assertion parses a JWT.
func assertion(t *testing.T, jwt string) (header, claims map[string]any, signed [32]byte, signature []byte) {
	t.Helper()
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		t.Fatalf("an assertion of %d parts", len(parts))
	}
	for i, into := range []*map[string]any{&header, &claims} {
		if err := json.Unmarshal(must(base64.RawURLEncoding.DecodeString(parts[i])), into); err != nil {
			t.Fatal(err)
		}
	}
	return header, claims, sha256.Sum256([]byte(parts[0] + "." + parts[1])), must(base64.RawURLEncoding.DecodeString(parts[2]))
}

func TestCertificate_SignsAnAssertion(t *testing.T) {
	for _, algorithm := range []Algorithm{PS256, RS256} {
		t.Run(string(algorithm), func(t *testing.T) {
			server := serve(t, respondInTurn(tokenResponse("access", "", 3600)))
			identity := newIdentity(t)
			issuer := newIssuer(t, server.Server, nil)
			grant := must(issuer.Certificate(identity, identity.leaf, algorithm))
			if _, err := grant.Token(t.Context()); err != nil {
				t.Fatal(err)
			}
			form := server.requests()[0]
			if got := form.Get("client_assertion_type"); got != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
				t.Errorf("client_assertion_type = %q", got)
			}
			if form.Has("client_secret") || form.Get("client_id") != clientID {
				t.Errorf("the form is %v", form)
			}
			header, claims, signed, signature := assertion(t, form.Get("client_assertion"))
			sum256, sum1 := sha256.Sum256(identity.leaf), sha1.Sum(identity.leaf)
			if header["alg"] != string(algorithm) || header["typ"] != "JWT" || header["x5t#S256"] != base64.RawURLEncoding.EncodeToString(sum256[:]) {
				t.Errorf("the header is %v", header)
			}
			var err error
			if algorithm == PS256 {
				// Servers may require a salt as long as the hash (RFC 7518, 3.5).
				err = rsa.VerifyPSS(&identity.PublicKey, crypto.SHA256, signed[:], signature, &rsa.PSSOptions{SaltLength: 32})
			} else {
				err = rsa.VerifyPKCS1v15(&identity.PublicKey, crypto.SHA256, signed[:], signature)
				if header["x5t"] != base64.RawURLEncoding.EncodeToString(sum1[:]) {
					t.Errorf("the header is %v", header)
				}
			}
			if err != nil {
				t.Errorf("the signature: %v", err)
			}
			now, issuedAt, expires := float64(time.Now().Unix()), claims["iat"].(float64), claims["exp"].(float64)
			if claims["aud"] != issuer.config.TokenURL || claims["iss"] != clientID || claims["sub"] != clientID ||
				claims["nbf"] != issuedAt || now-issuedAt > 60 || expires-issuedAt != 600 {
				t.Errorf("the claims are %v", claims)
			}
		})
	}
}

func TestCertificate_SignsUniqueAssertions(t *testing.T) {
	server := serve(t, respondInTurn(tokenResponse("access", "", 3600)))
	identity := newIdentity(t)
	grant := must(newIssuer(t, server.Server, func(c *Config) { c.Audience = "https://issuer.example/" }).Certificate(identity, identity.leaf, PS256))
	seen := map[any]bool{}
	for n := range 2 {
		must(grant.Token(t.Context()))
		_, claims, _, _ := assertion(t, server.requests()[n].Get("client_assertion"))
		if claims["aud"] != "https://issuer.example/" {
			t.Errorf("the audience is %v", claims["aud"])
		}
		seen[claims["jti"]] = true
	}
	if len(seen) != 2 {
		t.Error("a jti came twice")
	}
}

func TestCertificate_ReportsAKeyError(t *testing.T) {
	server := serve(t, respondInTurn(tokenResponse("access", "", 3600)))
	identity := newIdentity(t)
	identity.failing = errors.New("the TPM was cleared: import the certificate again")
	_, err := must(newIssuer(t, server.Server, nil).Certificate(identity, identity.leaf, PS256)).Token(t.Context())
	if fault := (*Fault)(nil); !errors.As(err, &fault) || fault.Kind != Configuration || !errors.Is(err, identity.failing) ||
		!strings.Contains(err.Error(), "import the certificate again") {
		t.Errorf("Token() = %v", err)
	}
	if len(server.requests()) != 0 {
		t.Error("got a request without an assertion")
	}
}

func TestIssuer_RejectsInvalidConfiguration(t *testing.T) {
	identity := newIdentity(t)
	elliptical := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	other := must(rsa.GenerateKey(rand.Reader, 2048))
	issuer := must(New(Config{TokenURL: "https://login.example/token", ClientID: clientID}))
	for name, c := range map[string]struct {
		make func() error
		text string
	}{
		"no client ID":      {func() error { _, err := New(Config{TokenURL: "https://a/t"}); return err }, "client ID"},
		"clear text":        {func() error { _, err := New(Config{TokenURL: "http://a/t", ClientID: "c"}); return err }, "https://"},
		"no host":           {func() error { _, err := New(Config{TokenURL: "https:///t", ClientID: "c"}); return err }, "https://"},
		"a user in the URL": {func() error { _, err := New(Config{TokenURL: "https://u:p@a/t", ClientID: "c"}); return err }, "https://"},
		"device in clear text": {func() error {
			_, err := New(Config{TokenURL: "https://a/t", DeviceURL: "http://a/d", ClientID: "c"})
			return err
		}, "device code"},
		"no secret":               {func() error { _, err := issuer.ClientSecret(Secret{}); return err }, "empty"},
		"an elliptic key":         {func() error { _, err := issuer.Certificate(elliptical, certified(t, elliptical), PS256); return err }, "RSA"},
		"the leaf of another key": {func() error { _, err := issuer.Certificate(identity, certified(t, other), PS256); return err }, "does not match its key"},
		"no certificate":          {func() error { _, err := issuer.Certificate(identity, []byte("x"), PS256); return err }, "reading the certificate"},
		"another algorithm":       {func() error { _, err := issuer.Certificate(identity, identity.leaf, "none"); return err }, "PS256"},
	} {
		if err := c.make(); err == nil || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v, want a word of %q", name, err, c.text)
		}
	}
}

func FuzzAssertion(f *testing.F) {
	key := boxKey()
	s := must(newSigner(key, []byte("leaf"), RS256))
	f.Add(clientID, "https://login.microsoftonline.com/t/oauth2/v2.0/token")
	f.Add("\"},\x00", "<\u2028>&.")
	f.Add("\xd5\xd4\xc0", "\xff")
	f.Fuzz(func(t *testing.T, client, audience string) {
		jwt, err := s.assert(client, audience, time.Unix(1e9, 0))
		if err != nil {
			t.Fatal(err)
		}
		_, claims, signed, signature := assertion(t, jwt.Reveal())
		if utf8.ValidString(client) && claims["sub"] != client || utf8.ValidString(audience) && claims["aud"] != audience || claims["exp"] != 1e9+600 {
			t.Errorf("the claims are %q", claims)
		}
		if err := rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, signed[:], signature); err != nil {
			t.Error(err)
		}
	})
}
