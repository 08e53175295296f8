package lan

import (
	"net/netip"
	"strings"
	"sync"
	"time"

	"sealpost/relay/envelope"
)

// guesses slows down who guesses passwords: from one address, and of one user from all
// addresses but those that the user has logged in from.
type guesses struct {
	now func() time.Time

	mu      sync.Mutex // guards the rest; nothing else is locked under it
	wrong   map[string]attempts
	trusted map[string]time.Time // a user and an address, and when it last logged in
}

// attempts are the wrong passwords in a row.
type attempts struct {
	count int
	until time.Time // no password is checked before
	last  time.Time
}

const (
	freeGuesses  = 5 // wrong passwords before the first delay
	firstBlock   = 10 * time.Second
	longestBlock = 15 * time.Minute
	guessMemory  = time.Hour
	maxGuessers  = 4096
	trustMemory  = 30 * 24 * time.Hour
	maxKeptName  = 64 // octets; no user's name is longer
)

func newGuesses(now func() time.Time) *guesses {
	return &guesses{now: now, wrong: make(map[string]attempts), trusted: make(map[string]time.Time)}
}

// keys returns what a login counts against.
func (g *guesses) keys(client netip.Addr, name string) []string {
	address := envelope.ClientNetwork(client).String()
	name = keptName(name)
	if at, ok := g.trusted[name+" "+address]; ok && g.now().Sub(at) < trustMemory {
		return []string{name + " " + address}
	}
	return []string{"from " + address, "as " + name}
}

// blocked returns how long no password is checked; 0 means that one may be now.
func (g *guesses) blocked(client netip.Addr, name string) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.wait(client, name)
}

// wait is blocked for a caller that holds g.mu.
func (g *guesses) wait(client netip.Addr, name string) (wait time.Duration) {
	for _, key := range g.keys(client, name) {
		wait = max(wait, g.wrong[key].until.Sub(g.now()))
	}
	return wait
}

// record records the result of a login. A wrong password that was checked while a delay
// began does not count; record then returns what is left of the delay.
func (g *guesses) record(client netip.Addr, name string, right bool) (wait time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	if right {
		for _, key := range g.keys(client, name) {
			delete(g.wrong, key)
		}
		limitSize(g.trusted, maxGuessers)
		g.trusted[keptName(name)+" "+envelope.ClientNetwork(client).String()] = now
		return 0
	}
	if wait := g.wait(client, name); wait > 0 {
		return wait
	}
	for _, key := range g.keys(client, name) {
		a := g.wrong[key]
		if now.Sub(a.last) > guessMemory {
			a = attempts{}
		}
		a.count, a.last = a.count+1, now
		if a.count >= freeGuesses {
			a.until = now.Add(min(firstBlock<<min(a.count-freeGuesses, 10), longestBlock))
		}
		limitSize(g.wrong, maxGuessers)
		g.wrong[key] = a
	}
	return 0
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
