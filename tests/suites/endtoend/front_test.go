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

// front is an HTTPS server that stands before an issuer: it passes on what it is
// asked, or does as it is told.
type front struct {
	server *httptest.Server
	issuer http.Handler

	mu          sync.Mutex
	lie         http.HandlerFunc // nil while it is honest
	certificate tls.Certificate
	asked       []time.Time
}

func startFront(t *testing.T, issuer *parts.Issuer) *front {
	t.Helper()
	target := must(url.Parse(issuer.Name()))
	quiet := log.New(io.Discard, "", 0)
	f := &front{certificate: serverCertificate(t), issuer: &httputil.ReverseProxy{
		// The issuer goes by the name under which it was asked.
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

// tokenURL is the issuer's through this front.
func (f *front) tokenURL(issuer *parts.Issuer) string {
	port := f.server.Listener.Addr().(*net.TCPAddr).Port
	return strings.Replace(issuer.TokenURL(), issuer.Name(), fmt.Sprintf("https://localhost:%d", port), 1)
}

// ServeHTTP implements http.Handler.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.asked = append(f.asked, time.Now())
	handle := f.issuer
	if f.lie != nil {
		handle = f.lie
	}
	f.mu.Unlock()
	handle.ServeHTTP(w, r)
}

// behave has it lie from now on; nil makes it honest.
func (f *front) behave(lie http.HandlerFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lie = lie
}

// shows has it show another certificate from now on.
func (f *front) shows(certificate tls.Certificate) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.certificate = certificate
}

// times is when it was asked so far.
func (f *front) times() []time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]time.Time(nil), f.asked...)
}

// answering is a lie with a status and a text.
func answering(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// tooMany is an issuer that was asked too often.
func tooMany(wait time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", strconv.Itoa(int(wait.Seconds())))
		w.WriteHeader(http.StatusTooManyRequests)
	}
}

// slow is an issuer that never comes to the end of its answer.
func slow(w http.ResponseWriter, r *http.Request) {
	for r.Context().Err() == nil {
		_, _ = io.WriteString(w, " ")
		_ = http.NewResponseController(w).Flush()
		time.Sleep(100 * time.Millisecond)
	}
}
