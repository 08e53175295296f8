package lan

import (
	"net"
	"net/netip"
	"testing"

	"sealpost/relay/journal"
	"sealpost/relay/policy"
)

// TestSessions_CountAListedDeviceAlone has a device with limits of its own in an IPv6
// network that others use, too.
func TestSessions_CountAListedDeviceAlone(t *testing.T) {
	p := &policy.Policy{Networks: []netip.Prefix{netip.MustParsePrefix("fd00::/64")}, Devices: []policy.Device{
		{Clients: netip.MustParsePrefix("fd00::7/128"), Limits: policy.Limits{Connections: 1, MessagesPerMinute: 1}}}}
	s := New(Config{Hostname: "relay.contoso.com", Limits: testLimits}, p, &fakeAcceptor{}, journal.Discard())
	defer s.cancel()
	admit := func(address string) (*clientConn, bool) {
		t.Helper()
		near, far := net.Pipe()
		t.Cleanup(func() { _, _ = near.Close(), far.Close() })
		client := p.Client(netip.MustParseAddr(address))
		c, _, ok := s.sessions.admit(near, client, p.Access(client))
		return c, ok
	}
	others := make([]*clientConn, 0, testLimits.PerClient)
	for range testLimits.PerClient {
		c, ok := admit("fd00::1")
		if !ok {
			t.Fatal("a client within its limit: refused")
		}
		others = append(others, c)
	}
	if _, ok := admit("fd00::2"); ok {
		t.Error("another address of the network, which is at its limit: admitted")
	}
	listed, ok := admit("fd00::7")
	if !ok {
		t.Fatal("the listed device: refused because of others")
	}
	if _, ok := admit("fd00::7"); ok {
		t.Error("the listed device at its own limit: admitted")
	}
	if s.sessions.countMessage(others[0].counted, 1) || s.sessions.countMessage(listed.counted, 1) {
		t.Error("the first message: too many")
	}
	if !s.sessions.countMessage(listed.counted, 1) {
		t.Error("the second message in a minute: not too many")
	}
	for _, c := range append(others, listed) {
		s.sessions.leave(c)
	}
	if len(s.sessions.clients) != 0 {
		t.Errorf("got %v, want no client", s.sessions.clients)
	}
}
