package mtasts

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Resolver finds records and connects to hosts; *dns.Resolver is one.
type Resolver interface {
	TXT(ctx context.Context, name string) ([]string, error)
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

// Store keeps bytes over a restart.
type Store interface {
	// Load returns what Save stored last; nil if nothing was.
	Load(ctx context.Context) ([]byte, error)
	Save(ctx context.Context, text []byte) error
}

// Timeouts and limits.
const (
	fetchTimeout = 30 * time.Second
	// retryFetch is how long a policy is not fetched again, whatever its record says (RFC
	// 8461 section 3.3): each may cause a write to flash.
	retryFetch = 5 * time.Minute
	maxDomains = 500 // in memory
	maxStored  = 200 // that outlive a restart
	// maxStoredSize is the octets of what is stored, so that strangers' policies do not
	// take the room of keys and certificates. A policy usually has 200.
	maxStoredSize  = 64 << 10
	maxStoredEntry = 2 << 10 // of one policy
)

// Cache keeps the policies of domains. It is safe for concurrent use; its mutex is not
// held while a policy is fetched or stored.
type Cache struct {
	resolver Resolver
	client   *http.Client
	store    Store
	now      func() time.Time

	storing sync.Mutex // orders the uses of store; mu may be taken while it is held
	loaded  bool       // guarded by storing

	mu      sync.Mutex
	domains map[string]entry
}

// entry is the last policy fetched for a domain. Only what a restart must not forget is
// exported: a policy that is enforced.
type entry struct {
	Policy  Policy    `json:"policy"`
	ID      string    `json:"id"`
	Fetched time.Time `json:"fetched"`

	failed time.Time // when it could not be fetched last
	reason error     // why
}

func (e entry) valid(now time.Time) bool {
	return e.Policy.Mode != "" && now.Before(e.Fetched.Add(e.Policy.MaxAge))
}

// NewCache returns a cache that trusts roots for the hosts of policies; nil means the
// system's.
func NewCache(resolver Resolver, roots *x509.CertPool, store Store) *Cache {
	return &Cache{resolver: resolver, store: store, now: time.Now, domains: make(map[string]entry), client: &http.Client{
		Timeout: fetchTimeout,
		// A redirect would leave the name that the certificate proves (RFC 8461 section 3.3).
		CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("it redirects") },
		Transport: &http.Transport{
			DialContext:            resolver.DialContext,
			TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			DisableKeepAlives:      true,
			MaxResponseHeaderBytes: maxPolicy,
		},
	}}
}

// Policy returns the policy of a domain; its mode is None if there is none. The error
// says why an announced policy could not be fetched, or an enforced one not be stored: the
// policy that was known before is returned with it.
func (c *Cache) Policy(ctx context.Context, domain string) (Policy, error) {
	loadErr := c.load(ctx)
	now := c.now()
	c.mu.Lock()
	known := c.domains[domain]
	c.mu.Unlock()
	current := Policy{Mode: None}
	if known.valid(now) {
		current = known.Policy
	}
	records, err := c.resolver.TXT(ctx, "_mta-sts."+domain)
	id := parseRecord(records)
	fresh := known.valid(now) && id == known.ID && now.Before(known.Fetched.Add(known.Policy.MaxAge/2))
	switch {
	case err != nil:
		// Whoever can suppress the record must not end a policy that is known.
		return current, loadErr
	case id == "", fresh, known.valid(now) && now.Sub(known.Fetched) < retryFetch:
		return current, loadErr
	case now.Sub(known.failed) < retryFetch && now.Sub(known.failed) >= 0:
		return current, known.reason
	}
	fetched, err := c.fetch(ctx, domain)
	if err != nil {
		known.failed, known.reason = now, fmt.Errorf("fetching the MTA-STS policy of %s: %w", domain, err)
		c.set(domain, known)
		return current, known.reason
	}
	c.set(domain, entry{Policy: fetched, ID: id, Fetched: now})
	if fetched.Mode == Enforce || known.Policy.Mode == Enforce {
		return fetched, cmp.Or(c.save(ctx), loadErr)
	}
	return fetched, loadErr
}

// fetch requests a policy (RFC 8461 section 3.3).
func (c *Cache) fetch(ctx context.Context, domain string) (Policy, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://mta-sts."+domain+"/.well-known/mta-sts.txt", nil)
	if err != nil {
		return Policy{}, err
	}
	response, err := c.client.Do(request)
	if err != nil {
		return Policy{}, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return Policy{}, fmt.Errorf("the server answers %s", response.Status)
	}
	if kind, _, err := mime.ParseMediaType(response.Header.Get("Content-Type")); err != nil || kind != "text/plain" {
		return Policy{}, fmt.Errorf("the policy is of type %q, not text/plain", response.Header.Get("Content-Type"))
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxPolicy+1))
	if err != nil {
		return Policy{}, err
	}
	return Parse(text)
}

// set keeps an entry. The oldest makes room for it.
func (c *Cache) set(domain string, e entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, found := c.domains[domain]; !found && len(c.domains) >= maxDomains {
		oldest := slices.MinFunc(slices.Collect(maps.Keys(c.domains)), func(a, b string) int {
			return c.domains[a].age().Compare(c.domains[b].age())
		})
		delete(c.domains, oldest)
	}
	c.domains[domain] = e
}

// age is when the entry was last touched; enforced policies make room last.
func (e entry) age() time.Time {
	if e.Policy.Mode == Enforce {
		return e.Fetched.Add(maxAge)
	}
	if e.failed.After(e.Fetched) {
		return e.failed
	}
	return e.Fetched
}

// load reads what was stored, once.
func (c *Cache) load(ctx context.Context) error {
	c.storing.Lock()
	defer c.storing.Unlock()
	if c.loaded {
		return nil
	}
	text, err := c.store.Load(ctx)
	if err != nil {
		return fmt.Errorf("reading the stored MTA-STS policies: %w", err)
	}
	c.loaded = true
	if len(text) == 0 {
		return nil
	}
	stored := make(map[string]entry)
	if err := json.Unmarshal(text, &stored); err != nil {
		return fmt.Errorf("reading the stored MTA-STS policies: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for domain, e := range stored {
		if len(c.domains) < maxStored {
			c.domains[domain] = e
		}
	}
	return nil
}

// save stores the enforced policies that are valid, the latest if there are too many.
func (c *Cache) save(ctx context.Context) error {
	c.storing.Lock()
	defer c.storing.Unlock()
	if !c.loaded {
		return nil // what is stored must not be replaced before it was read
	}
	now := c.now()
	c.mu.Lock()
	stored := maps.Clone(c.domains)
	c.mu.Unlock()
	maps.DeleteFunc(stored, func(_ string, e entry) bool { return e.Policy.Mode != Enforce || !e.valid(now) })
	text, err := encode(stored)
	if err == nil {
		err = c.store.Save(ctx, text)
	}
	if err != nil {
		return fmt.Errorf("storing the MTA-STS policies: %w", err)
	}
	return nil
}

// encode returns the entries to be stored: the latest that fit, without those that are too
// large.
func encode(entries map[string]entry) ([]byte, error) {
	stored, room := make(map[string]json.RawMessage), maxStoredSize
	latest := slices.SortedFunc(maps.Keys(entries), func(a, b string) int { return entries[b].Fetched.Compare(entries[a].Fetched) })
	for _, domain := range latest {
		text, err := json.Marshal(entries[domain])
		if err != nil {
			return nil, err
		}
		const punctuation = len(`"":,`)
		size := len(domain) + len(text) + punctuation
		if size <= min(room, maxStoredEntry) && len(stored) < maxStored {
			stored[domain] = text
			room -= size
		}
	}
	return json.Marshal(stored)
}
