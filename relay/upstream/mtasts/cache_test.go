package mtasts

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"sealpost/tests/rigs/parts"
)

// publisher is a domain that publishes a policy, and its DNS.
type publisher struct {
	server *httptest.Server

	mu       sync.Mutex
	records  []string
	dnsErr   error
	respond  http.HandlerFunc
	requests int
}

func (p *publisher) TXT(_ context.Context, name string) ([]string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !strings.HasPrefix(name, "_mta-sts.") {
		return nil, errors.New("unexpected name " + name)
	}
	return p.records, p.dnsErr
}

func (p *publisher) DialContext(ctx context.Context, network, _ string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, network, p.server.Listener.Addr().String())
}

func (p *publisher) publish(id, policy string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.records = []string{"v=STSv1; id=" + id + ";"}
	p.respond = func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte(policy))
	}
}

func (p *publisher) fetched() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.requests
}

// memory is a Store in memory.
type memory struct {
	text  []byte
	saves int
	err   error
}

func (m *memory) Load(context.Context) ([]byte, error) { return m.text, m.err }
func (m *memory) Save(_ context.Context, text []byte) error {
	if m.err == nil {
		m.text = text
		m.saves++
	}
	return m.err
}

var authority = sync.OnceValue(func() *parts.Authority {
	a, err := parts.NewAuthority("Test CA")
	if err != nil {
		panic(err)
	}
	return a
})

func newPublisher(t *testing.T, certificateFor string) *publisher {
	t.Helper()
	certificate, err := authority().IssueP256(nil, certificateFor)
	if err != nil {
		t.Fatal(err)
	}
	p := &publisher{}
	p.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.requests++
		respond := p.respond
		p.mu.Unlock()
		if r.URL.Path != "/.well-known/mta-sts.txt" || r.Host != "mta-sts.contoso.com" {
			t.Errorf("got a request for %s%s", r.Host, r.URL.Path)
		}
		respond(w, r)
	}))
	p.server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	p.server.StartTLS()
	t.Cleanup(p.server.Close)
	return p
}

const (
	enforced  = "version: STSv1\nmode: enforce\nmx: mx.contoso.com\nmax_age: 86400\n"
	inTesting = "version: STSv1\nmode: testing\nmx: mx.contoso.com\nmax_age: 86400\n"
)

// newCache returns a cache with a clock that the test moves.
func newCache(p *publisher, store Store) (c *Cache, clock *time.Time) {
	now := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	c = NewCache(p, authority().Pool(), store)
	c.now = func() time.Time { return now }
	return c, &now
}

func mode(t *testing.T, c *Cache) Mode {
	t.Helper()
	p, err := c.Policy(t.Context(), "contoso.com")
	if err != nil {
		t.Errorf("got %v", err)
	}
	return p.Mode
}

func TestCache_FetchesAPolicyOncePerID(t *testing.T) {
	p := newPublisher(t, "mta-sts.contoso.com")
	c, now := newCache(p, &memory{})
	if got := mode(t, c); got != None || p.fetched() != 0 {
		t.Errorf("without a record: got %s, %d requests", got, p.fetched())
	}
	p.publish("1", inTesting)
	for range 3 {
		if got := mode(t, c); got != Testing || p.fetched() != 1 {
			t.Errorf("got %s after %d requests, want testing after 1", got, p.fetched())
		}
	}
	p.publish("2", enforced)
	if got := mode(t, c); got != Testing || p.fetched() != 1 {
		t.Errorf("a new id at once: got %s after %d requests, want testing after 1", got, p.fetched())
	}
	*now = now.Add(10 * time.Minute)
	if got := mode(t, c); got != Enforce || p.fetched() != 2 {
		t.Errorf("a new id: got %s after %d requests, want enforce after 2", got, p.fetched())
	}
	*now = now.Add(13 * time.Hour)
	if got := mode(t, c); got != Enforce || p.fetched() != 3 {
		t.Errorf("half of its age later: got %s after %d requests, want enforce after 3", got, p.fetched())
	}
}

func TestCache_KeepsAPolicyThatSomebodySuppresses(t *testing.T) {
	p := newPublisher(t, "mta-sts.contoso.com")
	p.publish("1", enforced)
	store := &memory{}
	first, _ := newCache(p, store)
	mode(t, first)
	if store.saves != 1 {
		t.Errorf("got %d saves, want 1", store.saves)
	}
	for name, suppress := range map[string]func(){
		"no record":      func() { p.records = nil },
		"no DNS":         func() { p.dnsErr = errors.New("timeout") },
		"no policy host": func() { p.publish("2", "gone") },
	} {
		p.records, p.dnsErr = []string{"v=STSv1; id=1;"}, nil
		suppress()
		c, now := newCache(p, store) // after a restart
		got, _ := c.Policy(t.Context(), "contoso.com")
		if got.Mode != Enforce {
			t.Errorf("%s: got %s, want enforce", name, got.Mode)
		}
		*now = now.Add(25 * time.Hour)
		if got, _ := c.Policy(t.Context(), "contoso.com"); got.Mode != None {
			t.Errorf("%s, after its age: got %s, want none", name, got.Mode)
		}
	}
}

func TestCache_FollowsADomainThatGivesUpItsPolicy(t *testing.T) {
	p := newPublisher(t, "mta-sts.contoso.com")
	p.publish("1", enforced)
	store := &memory{}
	c, now := newCache(p, store)
	mode(t, c)
	*now = now.Add(10 * time.Minute)
	p.publish("2", "version: STSv1\nmode: none\nmax_age: 86400\n")
	if got := mode(t, c); got != None {
		t.Errorf("got %s, want none", got)
	}
	restarted, _ := newCache(p, store)
	if got := mode(t, restarted); got != None || strings.Contains(string(store.text), "enforce") {
		t.Errorf("after a restart: got %s, stored %s", got, store.text)
	}
}

func TestCache_ReportsWhyAPolicyCannotBeFetched(t *testing.T) {
	for name, c := range map[string]struct {
		certificate string
		roots       *x509.CertPool
		respond     http.HandlerFunc
		fails       string
	}{
		"another name":   {"contoso.com", nil, nil, "not mta-sts.contoso.com"},
		"unknown issuer": {"mta-sts.contoso.com", x509.NewCertPool(), nil, "unknown authority"},
		"not found":      {"mta-sts.contoso.com", nil, func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) }, "404"},
		"a redirect": {"mta-sts.contoso.com", nil, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://www.contoso.com/", http.StatusFound)
		}, "redirects"},
		"HTML": {"mta-sts.contoso.com", nil, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = w.Write([]byte(enforced))
		}, "text/html"},
		"endless": {"mta-sts.contoso.com", nil, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			_, _ = w.Write([]byte(strings.Repeat(enforced, 2000)))
		}, "octets"},
	} {
		p := newPublisher(t, c.certificate)
		p.server.Config.ErrorLog = nil
		p.publish("1", enforced)
		if c.respond != nil {
			p.respond = c.respond
		}
		roots := c.roots
		if roots == nil {
			roots = authority().Pool()
		}
		cache := NewCache(p, roots, &memory{})
		for range 2 { // the second time from memory
			got, err := cache.Policy(t.Context(), "contoso.com")
			if got.Mode != None || err == nil || !strings.Contains(err.Error(), c.fails) || !strings.Contains(err.Error(), "contoso.com") {
				t.Errorf("%s: got %s, %v, want an error with %q", name, got.Mode, err, c.fails)
			}
		}
		if p.fetched() > 1 {
			t.Errorf("%s: got %d requests within a few minutes, want 1", name, p.fetched())
		}
	}
}

func TestCache_DoesNotReplaceWhatItCouldNotRead(t *testing.T) {
	p := newPublisher(t, "mta-sts.contoso.com")
	p.publish("1", enforced)
	store := &memory{text: []byte(`{"fabrikam.com":{"policy":{"mode":"enforce","mx":["mx.fabrikam.com"],"max_age":86400000000000},"id":"1","fetched":"2026-11-27T11:00:00Z"}}`), err: errors.New("flash fails")}
	c, now := newCache(p, store)
	if _, err := c.Policy(t.Context(), "contoso.com"); err == nil || !strings.Contains(err.Error(), "flash fails") {
		t.Errorf("got %v, want the error of the store", err)
	}
	store.err = nil
	if got := mode(t, c); got != Enforce {
		t.Errorf("got %s, want enforce", got)
	}
	if got, _ := c.Policy(t.Context(), "fabrikam.com"); got.Mode != Enforce {
		t.Errorf("a stored domain: got %s, want enforce", got.Mode)
	}
	*now = now.Add(10 * time.Minute)
	p.publish("2", enforced)
	mode(t, c)
	if !strings.Contains(string(store.text), "fabrikam.com") || !strings.Contains(string(store.text), "contoso.com") {
		t.Errorf("got stored %s, want both domains", store.text)
	}
}

func TestCache_IsBounded(t *testing.T) {
	p := newPublisher(t, "mta-sts.contoso.com")
	store := &memory{}
	c, _ := newCache(p, store)
	c.loaded = true
	for i := range 2 * maxDomains {
		mode := Testing
		if i%4 == 0 {
			mode = Enforce
		}
		c.set(string(rune('a'+i%26))+strings.Repeat("x", i%50)+string(rune('0'+i/50)), entry{Policy: Policy{Mode: mode, MaxAge: time.Hour}, Fetched: c.now().Add(time.Duration(i) * time.Second)})
	}
	if len(c.domains) > maxDomains {
		t.Errorf("got %d domains, want at most %d", len(c.domains), maxDomains)
	}
	if err := c.save(t.Context()); err != nil || strings.Count(string(store.text), "policy") > maxStored {
		t.Errorf("stored %d domains, %v, want at most %d", strings.Count(string(store.text), "policy"), err, maxStored)
	}
}

func TestCache_StoresLittleOfLargePolicies(t *testing.T) {
	store := &memory{}
	c, _ := newCache(newPublisher(t, "mta-sts.contoso.com"), store)
	c.loaded = true
	for i := range maxDomains {
		hosts := []string{strings.Repeat("x", i)}
		if i%2 == 0 {
			hosts[0] = strings.Repeat("x", maxPolicy-200)
		}
		c.set(strings.Repeat("d", i%50)+string(rune('0'+i/50))+".com", entry{Policy: Policy{Mode: Enforce, MX: hosts, MaxAge: time.Hour}, ID: "1", Fetched: c.now().Add(time.Duration(i) * time.Second)})
	}
	c.set("contoso.com", entry{Policy: Policy{Mode: Enforce, MX: []string{"mx.contoso.com"}, MaxAge: time.Hour}, ID: "1", Fetched: c.now().Add(time.Hour)})
	if err := c.save(t.Context()); err != nil || len(store.text) > maxStoredSize+len("{}") || len(store.text) < maxStoredSize/2 || !strings.Contains(string(store.text), `"contoso.com"`) {
		t.Errorf("stored %d octets, %v, want at most %d, with contoso.com", len(store.text), err, maxStoredSize)
	}
}
