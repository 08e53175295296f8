//go:build linux

package mdns

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// startOnLoopback serves on a loopback socket, with a responder that treats
// 127.7.0.0/24 as its link.
func startOnLoopback(t *testing.T) *net.UDPAddr {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := newResponder()
	r.set([]netip.Prefix{netip.MustParsePrefix("127.7.0.9/24"), netip.MustParsePrefix("fe80::9/64")})
	s := &responderSocket{conn: conn, group: &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9}}
	done := make(chan error)
	go func() { done <- s.serve(r) }()
	t.Cleanup(func() {
		_ = conn.Close()
		<-done
	})
	return conn.LocalAddr().(*net.UDPAddr)
}

func dialFrom(t *testing.T, source string, to *net.UDPAddr) *net.UDPConn {
	t.Helper()
	conn, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.ParseIP(source)}, to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// countResponses sends the query as often as questions says, and counts responses until
// none arrives for a while.
func countResponses(t *testing.T, conn *net.UDPConn, message []byte, questions int) (count int) {
	t.Helper()
	for range questions {
		if _, err := conn.Write(message); err != nil {
			t.Fatal(err)
		}
	}
	const silence = 300 * time.Millisecond
	for buffer := make([]byte, maxMessage); ; count++ {
		_ = conn.SetReadDeadline(time.Now().Add(silence))
		if _, err := conn.Read(buffer); err != nil {
			return count
		}
	}
}

func TestResponderSocket_AnswersOnlyItsLink(t *testing.T) {
	t.Parallel()
	plain := question(t, "sealpost-1234.local.", dnsmessage.TypeA, dnsmessage.ClassINET)
	unicast := question(t, "sealpost-1234.local.", dnsmessage.TypeA, dnsmessage.ClassINET|topBit)
	for source, want := range map[string]int{"127.7.0.1": 1, "127.7.0.254": 1, "127.7.1.1": 0, "127.0.0.1": 0, "127.8.0.1": 0} {
		address := startOnLoopback(t)
		for _, message := range [][]byte{plain, unicast} {
			if got := countResponses(t, dialFrom(t, source, address), message, 1); got != want {
				t.Errorf("%s: got %d responses, want %d", source, got, want)
			}
		}
	}
}

func TestResponderSocket_LimitsUnicastResponses(t *testing.T) {
	t.Parallel()
	address := startOnLoopback(t)
	message := question(t, "sealpost-1234.local.", dnsmessage.TypeA, dnsmessage.ClassINET)
	// The limit counts per second, and the flood may extend over two of them.
	const most = 2 * 5
	flooder, other := dialFrom(t, "127.7.0.66", address), dialFrom(t, "127.7.0.1", address)
	if got := countResponses(t, flooder, message, 1000); got < 1 || got > most {
		t.Errorf("1000 queries from one source: got %d responses, want at most %d", got, most)
	}
	if got := countResponses(t, other, message, 1); got != 1 {
		t.Errorf("another source beside it: got %d responses, want 1", got)
	}
	all := 0
	for i := range 250 {
		all += countResponsesNow(t, dialFrom(t, netip.AddrFrom4([4]byte{127, 7, 0, byte(2 + i)}).String(), address), message)
	}
	const mostInAll = 5 * 20
	if all > mostInAll {
		t.Errorf("250 sources: got %d responses, want at most %d", all, mostInAll)
	}
	time.Sleep(1100 * time.Millisecond)
	if got := countResponses(t, flooder, message, 1); got != 1 {
		t.Errorf("after the flood: got %d responses, want 1", got)
	}
}

// countResponsesNow sends the query once and waits for only a few milliseconds.
func countResponsesNow(t *testing.T, conn *net.UDPConn, message []byte) int {
	t.Helper()
	if _, err := conn.Write(message); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	if _, err := conn.Read(make([]byte, maxMessage)); err != nil {
		return 0
	}
	return 1
}

func TestResponderSocket_IgnoresMessagesThatAreTooLong(t *testing.T) {
	t.Parallel()
	address := startOnLoopback(t)
	message := question(t, "sealpost-1234.local.", dnsmessage.TypeA, dnsmessage.ClassINET)
	for octets, want := range map[int]int{maxMessage: 1, maxMessage + 1: 0} {
		padded := append(message, make([]byte, octets-len(message))...)
		if got := countResponses(t, dialFrom(t, "127.7.0.1", address), padded, 1); got != want {
			t.Errorf("%d octets: got %d responses, want %d", octets, got, want)
		}
	}
}

func TestResponder_KnowsItsLink(t *testing.T) {
	for source, want := range map[string]bool{
		"10.1.0.1": true, "10.1.1.1": false, "192.0.2.1": false, "169.254.7.7": true,
		"fe80::1": true, "fd00::1234": true, "fd00:0:0:1::1": false, "2001:db8::1": false,
	} {
		if got := newResponder().onLink(netip.MustParseAddr(source)); got != want {
			t.Errorf("%s: got %v, want %v", source, got, want)
		}
	}
}
