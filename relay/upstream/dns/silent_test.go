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
