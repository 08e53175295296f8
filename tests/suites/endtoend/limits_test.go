package endtoend

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"sealpost/tests/rigs/dialogue"
)

// dial connects to the relay from a local address.
func (s *site) dial(from string) net.Conn {
	s.t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 10 * time.Second}
	conn, err := dialer.Dial("tcp", s.address())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// connect returns a connection on which the relay has sent its greeting.
func (s *site) connect(from string) net.Conn {
	s.t.Helper()
	conn := s.dial(from)
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	greeting := make([]byte, 4)
	if _, err := io.ReadFull(conn, greeting); err != nil || string(greeting) != "220 " {
		s.t.Fatalf("got greeting %q, %v, want 220", greeting, err)
	}
	return conn
}

func TestLimits_AnswerWithTheirOwnCodeAndText(t *testing.T) {
	for _, c := range []struct {
		script string
		limits string
		event  string // expected in the journal; "" for none
	}{
		{"recipients", `recipients = 3`, "delivered"},
		{"command", `recipients = 3`, ""},
		{"line", `line = "1000B"`, "not received"},
		{"declared", `message_size = "64KiB"`, ""},
		{"undeclared", `message_size = "64KiB"`, "not received"},
		{"session", `session = "1s"`, ""},
		{"session", `idle = "1s"`, ""},
		{"transactions", `transactions = 2`, ""},
	} {
		t.Run(c.limits+" "+c.script, func(t *testing.T) {
			t.Parallel()
			upstream := startTenant(t, tenantConfig(t))
			s := relaySite(t, siteConfig{host: "localhost", port: upstream.Address().Port, limits: c.limits}, clientCertificate(t, authority()))
			if err := dialogue.Play(s.dial("127.0.0.1"), "testdata/"+c.script+".dialogue"); err != nil {
				t.Errorf("%v\n%s", err, s.relay.Log)
			}
			if c.event != "" {
				s.events(c.event, 1)
			}
		})
	}
}

// beginMessage has a client send MAIL.
func (s *site) beginMessage(conn net.Conn) {
	s.t.Helper()
	if _, err := io.WriteString(conn, "EHLO device\r\nMAIL FROM:<"+sender+">\r\n"); err != nil {
		s.t.Fatal(err)
	}
	for received := bufio.NewReader(conn); ; {
		line, err := received.ReadString('\n')
		if err != nil {
			s.t.Fatal(err)
		}
		if strings.Contains(line, sender) {
			return
		}
	}
}

func TestConnectionLimit_RejectsOneTooManyUntilAnotherCloses(t *testing.T) {
	for script, c := range map[string]struct {
		limits  string
		clients []string
	}{
		"perclient":   {`connections_per_client = 2`, []string{"127.0.0.1", "127.0.0.1", "127.0.0.2"}},
		"connections": {`connections = 2`, []string{"127.0.0.2", "127.0.0.3"}},
	} {
		t.Run(script, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, siteConfig{host: "localhost", limits: c.limits})
			s.start()
			var open []net.Conn
			for _, client := range c.clients {
				open = append(open, s.connect(client))
				// An idle connection would make room.
				s.beginMessage(open[len(open)-1])
			}
			if err := dialogue.Play(s.dial("127.0.0.1"), "testdata/"+script+".dialogue"); err != nil {
				t.Error(err)
			}
			s.events("client refused", 1)
			_, _ = io.WriteString(open[0], "QUIT\r\n")
			_, _ = io.Copy(io.Discard, open[0])
			s.connect("127.0.0.1")
		})
	}
}

func TestClientOutsideAllow_IsRejectedOnConnect(t *testing.T) {
	t.Parallel()
	s := newSite(t, siteConfig{host: "localhost", allow: "127.0.0.1/32"})
	s.start()
	if err := dialogue.Play(s.dial("127.0.0.2"), "testdata/notallowed.dialogue"); err != nil {
		t.Error(err)
	}
	if event := s.events("client refused", 1)[0]; event["client"] != "127.0.0.2" {
		t.Errorf("got event %v, want client 127.0.0.2", event)
	}
	s.connect("127.0.0.1")
}
