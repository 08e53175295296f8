package endtoend

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sealpost/tests/rigs/parts"
)

// issuerProxy is an HTTPS reverse proxy in front of an issuer. A test can replace
// its handler and its certificate.
type issuerProxy struct {
	server *httptest.Server
	issuer http.Handler

	mu          sync.Mutex
	override    http.HandlerFunc // nil forwards to the issuer
	certificate tls.Certificate
	requests    []time.Time
}

func startIssuerProxy(t *testing.T, issuer *parts.Issuer) *issuerProxy {
	t.Helper()
	target := must(url.Parse(issuer.Name()))
	quiet := log.New(io.Discard, "", 0)
	f := &issuerProxy{certificate: serverCertificate(t), issuer: &httputil.ReverseProxy{
		// The issuer derives its name from the Host header.
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Host = r.In.Host },
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: authority().Pool()}, DisableKeepAlives: true},
		ErrorLog:  quiet,
	}}
	f.server = httptest.NewUnstartedServer(f)
	f.server.Config.ErrorLog = quiet
	f.server.TLS = &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		return &f.certificate, nil
	}}
	f.server.StartTLS()
	t.Cleanup(f.server.Close)
	return f
}

// tokenURL returns the issuer's token URL through this proxy.
func (f *issuerProxy) tokenURL(issuer *parts.Issuer) string {
	port := f.server.Listener.Addr().(*net.TCPAddr).Port
	return strings.Replace(issuer.TokenURL(), issuer.Name(), fmt.Sprintf("https://localhost:%d", port), 1)
}

// ServeHTTP implements http.Handler.
func (f *issuerProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.requests = append(f.requests, time.Now())
	handle := f.issuer
	if f.override != nil {
		handle = f.override
	}
	f.mu.Unlock()
	handle.ServeHTTP(w, r)
}

// setHandler replaces the handler; nil forwards to the issuer.
func (f *issuerProxy) setHandler(override http.HandlerFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.override = override
}

// setCertificate replaces the server certificate.
func (f *issuerProxy) setCertificate(certificate tls.Certificate) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.certificate = certificate
}

// requestTimes returns the times of the requests so far.
func (f *issuerProxy) requestTimes() []time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]time.Time(nil), f.requests...)
}

// respondWith returns a handler with a fixed response.
func respondWith(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// tooManyRequests returns a handler that responds 429 with Retry-After.
func tooManyRequests(wait time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", strconv.Itoa(int(wait.Seconds())))
		w.WriteHeader(http.StatusTooManyRequests)
	}
}

// endlessResponse sends a response that never ends.
func endlessResponse(w http.ResponseWriter, r *http.Request) {
	for r.Context().Err() == nil {
		_, _ = io.WriteString(w, " ")
		_ = http.NewResponseController(w).Flush()
		time.Sleep(100 * time.Millisecond)
	}
}
