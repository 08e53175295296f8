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
	p := &issuerProxy{certificate: serverCertificate(t), issuer: &httputil.ReverseProxy{
		// The issuer derives its name from the Host header.
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Host = r.In.Host },
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: authority().Pool()}, DisableKeepAlives: true},
		ErrorLog:  quiet,
	}}
	p.server = httptest.NewUnstartedServer(p)
	p.server.Config.ErrorLog = quiet
	p.server.TLS = &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		return &p.certificate, nil
	}}
	p.server.StartTLS()
	t.Cleanup(p.server.Close)
	return p
}

// tokenURL returns the issuer's token URL through this proxy.
func (p *issuerProxy) tokenURL(issuer *parts.Issuer) string {
	port := p.server.Listener.Addr().(*net.TCPAddr).Port
	return strings.Replace(issuer.TokenURL(), issuer.Name(), fmt.Sprintf("https://localhost:%d", port), 1)
}

// ServeHTTP implements http.Handler.
func (p *issuerProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.requests = append(p.requests, time.Now())
	handle := p.issuer
	if p.override != nil {
		handle = p.override
	}
	p.mu.Unlock()
	handle.ServeHTTP(w, r)
}

// setHandler replaces the handler; nil forwards to the issuer.
func (p *issuerProxy) setHandler(override http.HandlerFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.override = override
}

// setCertificate replaces the server certificate.
func (p *issuerProxy) setCertificate(certificate tls.Certificate) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.certificate = certificate
}

// requestTimes returns the times of the requests so far.
func (p *issuerProxy) requestTimes() []time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]time.Time(nil), p.requests...)
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
