package lan

import (
	"bufio"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"sealpost/relay/journal"
	"sealpost/relay/policy"
)

// dialFrom connects from an address of the loopback network.
func dialFrom(t *testing.T, from, address string) net.Conn {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	conn, err := dialer.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	return conn
}

// TestAdmission_MakesRoomForOthers has ten addresses with twenty silent connections
// each, and a device that is in the middle of a message.
func TestAdmission_MakesRoomForOthers(t *testing.T) {
	d := &fakeAcceptor{}
	_, address := start(t, d, func(c *Config) { c.Limits.Connections, c.Limits.PerClient = 100, 20 })
	busy := &client{t: t, conn: dialFrom(t, "127.0.0.1", address)}
	busy.r = bufio.NewReader(busy.conn)
	busy.expect(220)
	busy.command(250, "EHLO device")
	busy.envelope()
	for host := range 10 {
		for range 20 {
			dialFrom(t, netip.AddrFrom4([4]byte{127, 0, 1, byte(host)}).String(), address)
		}
	}
	begun := time.Now()
	if got := send(t, dialFrom(t, "127.0.0.2", address), "a@contoso.com"); got[:3] != "250" {
		t.Errorf("another client got %q", got)
	}
	if waited := time.Since(begun); waited > 2*time.Second {
		t.Errorf("another client: got a reply after %v, want at most 2s", waited)
	}
	busy.command(354, "DATA")
	busy.write("x\r\n.\r\n")
	busy.expect(250)
}

// TestAdmission_TakesFromThoseWithMost has a device with one idle connection and one
// with many.
func TestAdmission_TakesFromThoseWithMost(t *testing.T) {
	_, address := start(t, &fakeAcceptor{}, func(c *Config) { c.Limits.Connections, c.Limits.PerClient = 10, 9 })
	idle := &client{t: t, conn: dialFrom(t, "127.0.0.1", address)}
	idle.r = bufio.NewReader(idle.conn)
	idle.expect(220)
	for range 9 {
		conn := dialFrom(t, "127.0.0.2", address)
		if _, err := io.ReadFull(conn, make([]byte, 4)); err != nil {
			t.Fatal(err)
		}
	}
	for range 20 {
		conn := dialFrom(t, "127.0.0.3", address)
		if got := send(t, conn, "a@contoso.com"); got[:3] != "250" {
			t.Errorf("another client got %q", got)
		}
		_ = conn.Close()
	}
	idle.command(250, "EHLO device")
}

// TestEvict_EndsContentThatDrips has a client that sends an octet each second.
func TestEvict_EndsContentThatDrips(t *testing.T) {
	s := newSessions(&Config{Limits: testLimits}, journal.Discard())
	server, client := net.Pipe()
	defer client.Close()
	c, _, _ := s.admit(server, policy.Client{Address: netip.MustParseAddr("192.0.2.1")}, policy.Access{})
	c.beginContent()
	c.octets.Add(20)
	c.contentAt.Store(time.Now().Add(-20 * time.Second).UnixNano())
	if s.evict() {
		t.Error("content that has just begun: got it ended")
	}
	c.contentAt.Store(time.Now().Add(-time.Minute).UnixNano())
	c.lastRead.Store(time.Now().UnixNano())
	if !s.evict() {
		t.Error("content of 20 octets in a minute: got it going on, want it ended")
	}
	_ = c.Close()
}

// TestEvict_EndsATransactionThatPauses has a client that sends MAIL and nothing more.
func TestEvict_EndsATransactionThatPauses(t *testing.T) {
	s := newSessions(&Config{Limits: testLimits}, journal.Discard())
	server, client := net.Pipe()
	defer client.Close()
	c, _, _ := s.admit(server, policy.Client{Address: netip.MustParseAddr("192.0.2.1")}, policy.Access{})
	c.inTransaction.Store(true)
	c.mailAt.Store(time.Now().UnixNano())
	if s.evict() {
		t.Error("transaction that has just begun: got it ended")
	}
	c.mailAt.Store(time.Now().Add(-time.Minute).UnixNano()) // and NOOP since
	c.beginContent()
	if s.evict() {
		t.Error("session that receives a message: got it ended")
	}
	c.contentAt.Store(time.Now().Add(-time.Minute).UnixNano())
	c.octets.Store(100 << 10)
	if s.evict() {
		t.Error("session that has received 100 KiB within a minute: got it ended")
	}
	c.lastRead.Store(time.Now().Add(-time.Minute).UnixNano())
	c.accepting.Store(true)
	if s.evict() {
		t.Error("session that waits for its reply: got it ended")
	}
	c.accepting.Store(false)
	c.receiving.Store(false)
	if !s.evict() || len(s.open) > 0 || len(s.clients) > 0 {
		t.Error("transaction that paused for a minute: got it open, want it ended")
	}
	_ = c.Close()
}
