package lan

import (
	"net/netip"
	"strings"
	"sync"
	"time"

	"sealpost/relay/envelope"
)

// loginLimiter slows down who guesses passwords: from one address, and of one user from all
// addresses but those that the user has logged in from.
type loginLimiter struct {
	now func() time.Time

	mu       sync.Mutex // guards the rest; nothing else is locked under it
	failures map[string]failures
	trusted  map[string]time.Time // a user and an address, and when it last logged in
}

// failures are the wrong passwords in a row.
type failures struct {
	count int
	until time.Time // no password is checked before
	last  time.Time
}

const (
	freeFailures = 5 // wrong passwords before the first delay
	firstDelay   = 10 * time.Second
	longestDelay = 15 * time.Minute
	failureAge   = time.Hour
	maxFailures  = 4096
	trustAge     = 30 * 24 * time.Hour
	maxKeptName  = 64 // octets; no user's name is longer
)

func newLoginLimiter(now func() time.Time) *loginLimiter {
	return &loginLimiter{now: now, failures: make(map[string]failures), trusted: make(map[string]time.Time)}
}

// keys returns what a login counts against.
func (g *loginLimiter) keys(client netip.Addr, name string) []string {
	address := envelope.ClientNetwork(client).String()
	name = keptName(name)
	if at, ok := g.trusted[name+" "+address]; ok && g.now().Sub(at) < trustAge {
		return []string{name + " " + address}
	}
	return []string{"from " + address, "as " + name}
}

// delay returns how long no password is checked; 0 means that one may be now.
func (g *loginLimiter) delay(client netip.Addr, name string) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.delayLocked(client, name)
}

// delayLocked is delay for a caller that holds g.mu.
func (g *loginLimiter) delayLocked(client netip.Addr, name string) (wait time.Duration) {
	for _, key := range g.keys(client, name) {
		wait = max(wait, g.failures[key].until.Sub(g.now()))
	}
	return wait
}

// record records the result of a login. A wrong password that was checked while a delay
// began does not count; record then returns what is left of the delay.
func (g *loginLimiter) record(client netip.Addr, name string, right bool) (wait time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	if right {
		for _, key := range g.keys(client, name) {
			delete(g.failures, key)
		}
		g.trust(client, name, now)
		return 0
	}
	if wait := g.delayLocked(client, name); wait > 0 {
		return wait
	}
	for _, key := range g.keys(client, name) {
		a := g.failures[key]
		if now.Sub(a.last) > failureAge {
			a = failures{}
		}
		a.count, a.last = a.count+1, now
		if a.count >= freeFailures {
			a.until = now.Add(min(firstDelay<<min(a.count-freeFailures, 10), longestDelay))
		}
		limitSize(g.failures, maxFailures)
		g.failures[key] = a
	}
	return 0
}

// trust records a login. The caller holds g.mu.
func (g *loginLimiter) trust(client netip.Addr, name string, at time.Time) {
	limitSize(g.trusted, maxFailures)
	g.trusted[keptName(name)+" "+envelope.ClientNetwork(client).String()] = at
}

// RememberLogin records that a client logged in before the server was created, so that it
// is not slowed down by the guesses of others.
func (s *Server) RememberLogin(client netip.Addr, name string, at time.Time) {
	s.logins.mu.Lock()
	defer s.logins.mu.Unlock()
	s.logins.trust(client, name, at)
}

// keptName is a name as it is kept, however long a client's is.
func keptName(name string) string {
	return strings.ToLower(name[:min(len(name), maxKeptName)])
}

// limitSize removes entries so that one more has room. A guesser with many addresses
// displaces others, but then each of its addresses has only some guesses.
func limitSize[V any](m map[string]V, most int) {
	for key := range m {
		if len(m) < most {
			return
		}
		delete(m, key)
	}
}
