package lan

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// guesser is guesses with a clock that the test moves.
type guesser struct {
	*guesses
	t   *testing.T
	now time.Time
}

func newGuesser(t *testing.T) *guesser {
	g := &guesser{t: t, now: time.Date(2026, 11, 27, 8, 0, 0, 0, time.UTC)}
	g.guesses = newGuesses(func() time.Time { return g.now })
	return g
}

// wrong records wrong passwords, each after the delay.
func (g *guesser) wrong(n int, client, name string) {
	for range n {
		g.now = g.now.Add(g.blocked(netip.MustParseAddr(client), name))
		g.record(netip.MustParseAddr(client), name, false)
	}
}

func (g *guesser) right(client, name string) { g.record(netip.MustParseAddr(client), name, true) }

func (g *guesser) expect(what string, want time.Duration, client, name string) {
	g.t.Helper()
	if got := g.blocked(netip.MustParseAddr(client), name); got != want {
		g.t.Errorf("%s: got a delay of %v, want %v", what, got, want)
	}
}

func TestGuesses_DelayByAddressAndByName(t *testing.T) {
	g := newGuesser(t)
	for n := range freeGuesses - 1 {
		g.wrong(1, "192.0.2.1", fmt.Sprintf("user%d", n))
	}
	g.expect("four wrong passwords of an address", 0, "192.0.2.1", "another")
	g.wrong(1, "192.0.2.1", "user9")
	g.expect("five", firstBlock, "192.0.2.1", "another")
	g.expect("another address", 0, "192.0.2.2", "another")
	for n := range freeGuesses {
		g.wrong(1, fmt.Sprintf("192.0.2.%d", 10+n), "Printer")
	}
	g.expect("a name, from an address without guesses", firstBlock, "192.0.2.3", "printer")
	g.expect("another name", 0, "192.0.2.3", "scanner")
}

func TestGuesses_DoubleTheDelayUpToAQuarterOfAnHour(t *testing.T) {
	g := newGuesser(t)
	g.wrong(freeGuesses-1, "192.0.2.1", "printer")
	for n, want := range []time.Duration{10, 20, 40, 80, 160, 320, 640, 900, 900, 900, 900, 900} {
		g.wrong(1, "192.0.2.1", "printer")
		g.expect(fmt.Sprintf("guess %d", freeGuesses+n), want*time.Second, "192.0.2.1", "printer")
		g.now = g.now.Add(want * time.Second)
		g.expect("the end of the delay", 0, "192.0.2.1", "printer")
	}
	g.now = g.now.Add(guessMemory + time.Second)
	g.wrong(1, "192.0.2.1", "printer")
	g.expect("a wrong password an hour later", 0, "192.0.2.1", "printer")
}

func TestGuesses_SpareADeviceThatHasLoggedIn(t *testing.T) {
	g := newGuesser(t)
	g.right("192.0.2.1", "printer")
	for n := range 100 {
		g.wrong(freeGuesses, fmt.Sprintf("198.51.100.%d", n), "printer")
	}
	g.expect("an address without a login", longestBlock, "192.0.2.2", "printer")
	g.expect("the device", 0, "192.0.2.1", "Printer")
	g.wrong(freeGuesses, "192.0.2.1", "printer")
	g.expect("the device with a wrong password", firstBlock, "192.0.2.1", "printer")
	g.expect("another name from its address", 0, "192.0.2.1", "scanner")
	g.now = g.now.Add(firstBlock)
	g.right("192.0.2.1", "printer")
	g.expect("the device with the right password", 0, "192.0.2.1", "printer")
	g.wrong(freeGuesses, "192.0.2.1", "scanner")
	g.expect("the device, while its address guesses another name", 0, "192.0.2.1", "printer")
	g.now = g.now.Add(trustMemory)
	g.wrong(freeGuesses, "198.51.100.1", "printer")
	g.expect("the device a month after its last login", firstBlock, "192.0.2.1", "printer")
}

func TestGuesses_ForgetThemAfterARightPassword(t *testing.T) {
	g := newGuesser(t)
	g.wrong(freeGuesses-1, "192.0.2.1", "printer")
	g.right("192.0.2.1", "printer")
	g.wrong(freeGuesses-1, "192.0.2.2", "printer")
	g.wrong(freeGuesses-1, "192.0.2.1", "scanner")
	g.expect("the name", 0, "192.0.2.3", "printer")
	g.expect("the address", 0, "192.0.2.1", "another")
}

func TestGuesses_CountIPv6ByItsNetwork(t *testing.T) {
	g := newGuesser(t)
	for n := range freeGuesses {
		g.wrong(1, fmt.Sprintf("2001:db8::%d", n+1), fmt.Sprintf("user%d", n))
	}
	g.expect("the same /64", firstBlock, "2001:db8::ffff", "another")
	g.expect("another /64", 0, "2001:db8:0:1::1", "another")
	g.wrong(freeGuesses, "::ffff:192.0.2.1", "x")
	g.expect("a mapped address", firstBlock, "192.0.2.1", "another")
}

func TestGuesses_UseBoundedMemory(t *testing.T) {
	g := newGuesser(t)
	long := strings.Repeat("n", 10000)
	for n := range 3 * maxGuessers {
		client := netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})
		g.record(client, fmt.Sprintf("%d%s", n, long), n%2 == 0)
	}
	size := 0
	for key := range g.guesses.wrong {
		size += len(key)
	}
	for key := range g.trusted {
		size += len(key)
	}
	if entries := len(g.guesses.wrong) + len(g.trusted); entries > 2*maxGuessers || size > entries*128 {
		t.Errorf("got %d entries with %d octets, want at most %d of 128", entries, size, 2*maxGuessers)
	}
}
