package endtoend

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// promptly is how long another client may wait for its greeting, and for the reply to its
// message, while others hold connections.
const promptly = 2 * time.Second

// mustServePromptly has a client of its own address send a message.
func (s *site) mustServePromptly(from string) (waited time.Duration) {
	s.t.Helper()
	begun := time.Now()
	if refused := s.attempt(attempt{client: from, from: sender, to: []string{recipient}, authors: []string{sender}}); len(refused) > 0 {
		s.t.Errorf("another client got %q", refused)
	}
	if waited = time.Since(begun); waited > promptly {
		s.t.Errorf("another client: got a reply after %v, want at most %v", waited, promptly)
	}
	return waited
}

// TestSilentConnections_MakeRoomForOthers has ten addresses take all connections.
func TestSilentConnections_MakeRoomForOthers(t *testing.T) {
	t.Parallel()
	upstream := startTenant(t, tenantConfig(t))
	s := relaySite(t, siteConfig{host: "localhost", port: upstream.Address().Port, protection: "file", limits: "connections_per_client = 20"}, clientCertificate(t, authority()))
	for address := range 10 {
		for range 20 {
			dialFrom(t, fmt.Sprintf("127.40.0.%d", address+1), s.address())
		}
	}
	for n := range 5 {
		s.mustServePromptly(fmt.Sprintf("127.41.0.%d", n+1))
	}
}

// TestSlowClients_HoldNobodyUp has fifty addresses hold 1,000 silent connections, and send
// an octet each second in commands and in content. When they end, nothing of them is left.
func TestSlowClients_HoldNobodyUp(t *testing.T) {
	t.Parallel()
	const addresses, silent, slow = 50, 20, 2
	upstream := startTenant(t, tenantConfig(t))
	s := relaySite(t, siteConfig{host: "localhost", port: upstream.Address().Port, protection: "file",
		limits: "connections = 1200\nconnections_per_client = 24\nidle = \"8s\"\nsession = \"14s\""}, clientCertificate(t, authority()))
	s.mustServePromptly("127.41.0.1")
	before := s.resources()
	var clients sync.WaitGroup
	var greeted, ended atomic.Int64
	for address := range addresses {
		from := fmt.Sprintf("127.40.1.%d", address+1)
		for n := range silent + slow {
			conn := dialFrom(t, from, s.address())
			clients.Go(func() {
				defer ended.Add(1)
				switch n {
				case silent:
					drip(conn, "EHLO a-device-with-a-long-name\r\n")
				case silent + 1:
					_, _ = io.WriteString(conn, "EHLO device\r\nMAIL FROM:<"+sender+">\r\nRCPT TO:<"+recipient+">\r\nDATA\r\nSubject: slow\r\n\r\n")
					drip(conn, strings.Repeat("x", 60))
				}
				if n, _ := io.Copy(io.Discard, conn); n > 0 {
					greeted.Add(1)
				}
			})
		}
	}
	var longest time.Duration
	during := before
	for n := range 8 {
		longest = max(longest, s.mustServePromptly(fmt.Sprintf("127.41.0.%d", n+2)))
		if now := s.resources(); now.files > during.files {
			during = now
		}
		time.Sleep(500 * time.Millisecond)
	}
	if most := int64(10); ended.Load() > most {
		t.Errorf("got %d connections ended while there was room, want at most %d", ended.Load(), most)
	}
	clients.Wait()
	if want := int64(addresses * (silent + slow)); greeted.Load() != want {
		t.Errorf("got %d clients greeted, want %d", greeted.Load(), want)
	}
	s.mustServePromptly("127.41.0.20")
	after := s.awaitFiles(before.files + 3)
	t.Logf("before: %v; with %d slow clients: %v; after: %v; the longest wait of another client: %v", before, addresses*(silent+slow), during, after, longest.Round(time.Millisecond))
	const most = 64 << 10 // KiB
	if during.rss-before.rss > most {
		t.Errorf("got %d KiB more memory, want at most %d", during.rss-before.rss, most)
	}
	// The session of the last client may be about to end.
	if left := s.goroutines("sealpost/relay/lan.(*clientConn)"); left > 1 {
		t.Errorf("got %d goroutines of sessions left, want none of the slow clients", left)
	}
}

// drip writes an octet each second, until the connection ends.
func drip(conn net.Conn, text string) {
	for _, octet := range []byte(text) {
		if _, err := conn.Write([]byte{octet}); err != nil {
			return
		}
		time.Sleep(time.Second)
	}
}

// resources are what the relay uses.
type resources struct {
	rss   int // KiB
	files int
}

func (r resources) String() string { return fmt.Sprintf("%d MiB, %d files", r.rss>>10, r.files) }

func (s *site) resources() (r resources) {
	s.t.Helper()
	status := string(must(os.ReadFile(fmt.Sprintf("/proc/%d/status", s.relay.PID()))))
	_, line, _ := strings.Cut(status, "VmRSS:")
	if _, err := fmt.Sscan(line, &r.rss); err != nil {
		s.t.Fatal(err)
	}
	r.files = len(must(os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.relay.PID()))))
	return r
}

// awaitFiles waits until the relay has no more files open, sockets among them.
func (s *site) awaitFiles(most int) resources {
	s.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		r := s.resources()
		if r.files <= most {
			return r
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("got %v, want at most %d files", r, most)
		}
	}
}

// goroutines ends the relay with a list of its goroutines, and counts those that run in a
// function.
func (s *site) goroutines(function string) (n int) {
	s.t.Helper()
	if err := syscall.Kill(s.relay.PID(), syscall.SIGQUIT); err != nil {
		s.t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); s.relay.Running(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatal("the relay did not end")
		}
	}
	_, list, found := strings.Cut(s.relay.Log.String(), "SIGQUIT")
	if !found || !strings.Contains(list, "sealpost/relay/lan.(*admission)") {
		s.t.Fatalf("got no list of goroutines:\n%s", s.relay.Log)
	}
	for one := range strings.SplitSeq(list, "\n\ngoroutine ") {
		if strings.Contains(one, function) {
			n++
		}
	}
	return n
}
