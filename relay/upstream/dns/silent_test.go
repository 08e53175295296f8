package dns

import (
	"errors"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// A domain must not be able to make it look as if no name server answered: all mail would
// wait.
func TestResolver_TellsADomainThatFailsFromServersThatAreSilent(t *testing.T) {
	respond := func(query dnsmessage.Message, change func(*dnsmessage.Message)) []byte {
		response := dnsmessage.Message{Header: dnsmessage.Header{ID: query.ID, Response: true}, Questions: query.Questions}
		change(&response)
		packed, err := response.Pack()
		if err != nil {
			t.Error(err)
		}
		return packed
	}
	isRoot := func(query dnsmessage.Message) bool { return query.Questions[0].Name.String() == "." }
	for name, c := range map[string]struct {
		answer func(network string, query dnsmessage.Message) []byte
		silent bool
	}{
		"a server that waits for those of the domain": {answer: func(_ string, query dnsmessage.Message) []byte {
			if !isRoot(query) {
				return nil
			}
			return respond(query, func(*dnsmessage.Message) {})
		}},
		"an answer that cannot be read": {answer: func(_ string, query dnsmessage.Message) []byte {
			packed := respond(query, func(m *dnsmessage.Message) {
				m.Answers = []dnsmessage.Resource{resource("contoso.com.", dnsmessage.TypeMX, &dnsmessage.MXResource{MX: dnsmessage.MustNewName("a.contoso.com.")})}
			})
			return packed[:len(packed)-2]
		}},
		"an answer that is truncated by TCP too": {answer: func(_ string, query dnsmessage.Message) []byte {
			return respond(query, func(m *dnsmessage.Message) { m.Truncated = !isRoot(query) })
		}},
		"a server that is silent": {answer: func(string, dnsmessage.Message) []byte { return nil }, silent: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, err := New([]netip.AddrPort{scriptedServer(t, c.answer)}).MX(t.Context(), "contoso.com")
			fault := (*net.DNSError)(nil)
			if !errors.As(err, &fault) || fault.IsTimeout != c.silent || fault.IsNotFound {
				t.Errorf("got %+v, want a fault whose IsTimeout is %v", err, c.silent)
			}
		})
	}
}

func TestResolver_IgnoresADatagramWithAnotherID(t *testing.T) {
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go func() {
		packed := make([]byte, 2048)
		n, client, err := server.ReadFrom(packed)
		var query dnsmessage.Message
		if err != nil || query.Unpack(packed[:n]) != nil {
			return
		}
		good := zone(t, false, contoso...)("udp", query)
		for _, datagram := range [][]byte{{1}, append([]byte{good[0] ^ 1}, good[1:]...), good} {
			_, _ = server.WriteTo(datagram, client)
		}
	}()
	hosts, _, err := New([]netip.AddrPort{server.LocalAddr().(*net.UDPAddr).AddrPort()}).MX(t.Context(), "contoso.com")
	if len(hosts) != 2 || err != nil {
		t.Errorf("got %v, %v, want the server's answer", hosts, err)
	}
}
