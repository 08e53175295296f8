package oauth

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	clientID   = "11111111-2222-3333-4444-555555555555"
	tokenPath  = "/tenant/oauth2/v2.0/token"
	devicePath = "/tenant/oauth2/v2.0/devicecode"
	scope      = "https://outlook.office365.com/.default"
)

// issuerResponse is the response of a fake issuer.
type issuerResponse struct {
	status int
	header map[string]string
	body   string
}

func ok(body string) issuerResponse { return issuerResponse{status: 200, body: body} }

// tokenResponse is a response with a token.
func tokenResponse(access, refresh string, seconds int) issuerResponse {
	text, _ := json.Marshal(map[string]any{"token_type": "Bearer", "expires_in": seconds, "access_token": access, "refresh_token": refresh})
	return ok(string(text))
}

// entraError is an error in the form of Entra ID.
func entraError(code int, oauth string) issuerResponse {
	text, _ := json.Marshal(map[string]any{"error": oauth, "error_codes": []int{code},
		"error_description": "AADSTS0000: for developers.\r\nTrace ID: 0000", "trace_id": "0000"})
	return issuerResponse{status: 400, body: string(text)}
}

// fakeIssuer is a local token issuer.
type fakeIssuer struct {
	*httptest.Server
	mu    sync.Mutex
	forms []url.Values
}

func (a *fakeIssuer) requests() []url.Values {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]url.Values(nil), a.forms...)
}

// serve runs an issuer whose response is a function of the form and of the number
// of earlier requests.
func serve(t *testing.T, respond func(form url.Values, n int) issuerResponse) *fakeIssuer {
	t.Helper()
	a := new(fakeIssuer)
	a.Server = serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.ParseForm() != nil {
			t.Errorf("a request that is not a form: %s %s", r.Method, r.URL)
		}
		a.mu.Lock()
		n := len(a.forms)
		a.forms = append(a.forms, r.PostForm)
		a.mu.Unlock()
		s := respond(r.PostForm, n)
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		for name, value := range s.header {
			w.Header().Set(name, value)
		}
		w.WriteHeader(s.status)
		io.WriteString(w, s.body)
	})
	return a
}

// respondInTurn responds with each in turn, and repeats the last.
func respondInTurn(all ...issuerResponse) func(url.Values, int) issuerResponse {
	return func(_ url.Values, n int) issuerResponse { return all[min(n, len(all)-1)] }
}

func serveHTTP(t *testing.T, handle http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(handle)
	server.Config.ErrorLog = quiet
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

// newIssuer returns an Issuer for a server.
func newIssuer(t *testing.T, server *httptest.Server, change func(*Config)) *Issuer {
	t.Helper()
	config := Config{
		TokenURL: server.URL + tokenPath, DeviceURL: server.URL + devicePath,
		ClientID: clientID, Scopes: []string{scope}, Timeout: 20 * time.Second,
	}
	if server.Certificate() != nil {
		config.Roots = x509.NewCertPool()
		config.Roots.AddCert(server.Certificate())
	}
	if change != nil {
		change(&config)
	}
	issuer, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	return issuer
}

// identity is a certificate whose key counts its signatures.
type identity struct {
	*rsa.PrivateKey
	leaf    []byte
	signed  atomic.Int32
	before  func() // a signature
	failing error
}

var boxKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func certified(t *testing.T, key crypto.Signer) []byte {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "relay.contoso.com"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0)}
	leaf, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}

func newIdentity(t *testing.T) *identity {
	return &identity{PrivateKey: boxKey(), leaf: certified(t, boxKey())}
}

func (i *identity) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	i.signed.Add(1)
	if i.before != nil {
		i.before()
	}
	if i.failing != nil {
		return nil, i.failing
	}
	return i.PrivateKey.Sign(random, digest, opts)
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// pass advances the time of a bubble and waits until its goroutines block.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// source is a configurable Grant.
type source struct {
	requests atomic.Int32
	token    func(ctx context.Context, n int) (Token, error)
}

func (s *source) Name() string { return "test" }
func (s *source) Token(ctx context.Context) (Token, error) {
	return s.token(ctx, int(s.requests.Add(1)))
}

var quiet = log.New(io.Discard, "", 0)

func lasting(text string, life time.Duration) Token {
	return Token{NewSecret(text), time.Now().Add(life)}
}

// newTokenSource returns a TokenSource that is closed at the end of the test or its
// bubble.
func newTokenSource(t *testing.T, grant Grant) *TokenSource {
	k := NewTokenSource(grant, nil)
	t.Cleanup(k.Close)
	return k
}
