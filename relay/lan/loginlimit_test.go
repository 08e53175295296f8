package lan

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sealpost/relay/journal"
)

// guesser is a loginLimiter with a clock that the test moves.
type guesser struct {
	*loginLimiter
	t   *testing.T
	now time.Time
}

func newGuesser(t *testing.T) *guesser {
	g := &guesser{t: t, now: time.Date(2026, 11, 27, 8, 0, 0, 0, time.UTC)}
	g.loginLimiter = newLoginLimiter(func() time.Time { return g.now })
	return g
}

// fail records wrong passwords, each after the delay.
func (g *guesser) fail(n int, client, name string) {
	for range n {
		g.now = g.now.Add(g.delay(netip.MustParseAddr(client), name))
		g.record(netip.MustParseAddr(client), name, false)
	}
}

func (g *guesser) right(client, name string) { g.record(netip.MustParseAddr(client), name, true) }

func (g *guesser) expect(what string, want time.Duration, client, name string) {
	g.t.Helper()
	if got := g.delay(netip.MustParseAddr(client), name); got != want {
		g.t.Errorf("%s: got a delay of %v, want %v", what, got, want)
	}
}

func TestLoginLimiter_DelayByAddressAndByName(t *testing.T) {
	g := newGuesser(t)
	for n := range freeFailures - 1 {
		g.fail(1, "192.0.2.1", fmt.Sprintf("user%d", n))
	}
	g.expect("four wrong passwords of an address", 0, "192.0.2.1", "another")
	g.fail(1, "192.0.2.1", "user9")
	g.expect("five", firstDelay, "192.0.2.1", "another")
	g.expect("another address", 0, "192.0.2.2", "another")
	for n := range freeFailures {
		g.fail(1, fmt.Sprintf("192.0.2.%d", 10+n), "Printer")
	}
	g.expect("a name, from an address without guesses", firstDelay, "192.0.2.3", "printer")
	g.expect("another name", 0, "192.0.2.3", "scanner")
}

func TestLoginLimiter_DoubleTheDelayUpToAQuarterOfAnHour(t *testing.T) {
	g := newGuesser(t)
	g.fail(freeFailures-1, "192.0.2.1", "printer")
	for n, want := range []time.Duration{10, 20, 40, 80, 160, 320, 640, 900, 900, 900, 900, 900} {
		g.fail(1, "192.0.2.1", "printer")
		g.expect(fmt.Sprintf("guess %d", freeFailures+n), want*time.Second, "192.0.2.1", "printer")
		g.now = g.now.Add(want * time.Second)
		g.expect("the end of the delay", 0, "192.0.2.1", "printer")
	}
	g.now = g.now.Add(failureAge + time.Second)
	g.fail(1, "192.0.2.1", "printer")
	g.expect("a wrong password an hour later", 0, "192.0.2.1", "printer")
}

func TestLoginLimiter_SpareADeviceThatHasLoggedIn(t *testing.T) {
	g := newGuesser(t)
	g.right("192.0.2.1", "printer")
	for n := range 100 {
		g.fail(freeFailures, fmt.Sprintf("198.51.100.%d", n), "printer")
	}
	g.expect("an address without a login", longestDelay, "192.0.2.2", "printer")
	g.expect("the device", 0, "192.0.2.1", "Printer")
	g.fail(freeFailures, "192.0.2.1", "printer")
	g.expect("the device with a wrong password", firstDelay, "192.0.2.1", "printer")
	g.expect("another name from its address", 0, "192.0.2.1", "scanner")
	g.now = g.now.Add(firstDelay)
	g.right("192.0.2.1", "printer")
	g.expect("the device with the right password", 0, "192.0.2.1", "printer")
	g.fail(freeFailures, "192.0.2.1", "scanner")
	g.expect("the device, while its address guesses another name", 0, "192.0.2.1", "printer")
	g.now = g.now.Add(trustAge)
	g.fail(freeFailures, "198.51.100.1", "printer")
	g.expect("the device a month after its last login", firstDelay, "192.0.2.1", "printer")
}

func TestLoginLimiter_ForgetThemAfterARightPassword(t *testing.T) {
	g := newGuesser(t)
	g.fail(freeFailures-1, "192.0.2.1", "printer")
	g.right("192.0.2.1", "printer")
	g.fail(freeFailures-1, "192.0.2.2", "printer")
	g.fail(freeFailures-1, "192.0.2.1", "scanner")
	g.expect("the name", 0, "192.0.2.3", "printer")
	g.expect("the address", 0, "192.0.2.1", "another")
}

func TestLoginLimiter_CountIPv6ByItsNetwork(t *testing.T) {
	g := newGuesser(t)
	for n := range freeFailures {
		g.fail(1, fmt.Sprintf("2001:db8::%d", n+1), fmt.Sprintf("user%d", n))
	}
	g.expect("the same /64", firstDelay, "2001:db8::ffff", "another")
	g.expect("another /64", 0, "2001:db8:0:1::1", "another")
	g.fail(freeFailures, "::ffff:192.0.2.1", "x")
	g.expect("a mapped address", firstDelay, "192.0.2.1", "another")
}

func TestLoginLimiter_UseBoundedMemory(t *testing.T) {
	g := newGuesser(t)
	long := strings.Repeat("n", 10000)
	for n := range 3 * maxFailures {
		client := netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})
		g.record(client, fmt.Sprintf("%d%s", n, long), n%2 == 0)
	}
	size := 0
	for key := range g.loginLimiter.failures {
		size += len(key)
	}
	for key := range g.trusted {
		size += len(key)
	}
	if entries := len(g.loginLimiter.failures) + len(g.trusted); entries > 2*maxFailures || size > entries*128 {
		t.Errorf("got %d entries with %d octets, want at most %d of 128", entries, size, 2*maxFailures)
	}
}

func TestRememberLogin_KeepsADeviceFromTheDelaysOfOthers(t *testing.T) {
	s := New(Config{Hostname: "relay.contoso.com", Limits: testLimits}, testPolicy(), &fakeAcceptor{}, journal.Discard())
	defer s.cancel()
	printer, old, guesser := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.66")
	s.RememberLogin(printer, "Printer", time.Now().Add(-24*time.Hour))
	s.RememberLogin(old, "Printer", time.Now().Add(-2*trustAge))
	for range freeFailures {
		s.logins.record(guesser, "printer", false)
	}
	for client, want := range map[netip.Addr]bool{printer: false, old: true, guesser: true} {
		if wait := s.logins.delay(client, "printer"); (wait > 0) != want {
			t.Errorf("%v: got a delay of %v, want one: %v", client, wait, want)
		}
	}
}
