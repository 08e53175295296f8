package transport

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"testing"

	"sealpost/relay/journal"
)

func TestHandshake_KeepsNothingOfHostsThatAreNotResumed(t *testing.T) {
	state := tls.ConnectionState{HandshakeComplete: true, PeerCertificates: []*x509.Certificate{{}}}
	for name, c := range map[string]struct {
		verify func(tls.ConnectionState) error
		want   int
	}{
		"a policy that verifies each session": {func(tls.ConnectionState) error { return nil }, 0},
		"sessions that are resumed":           {nil, 100},
	} {
		transport := &Transport{sessions: newSessions()}
		for i := range 100 {
			h := tlsHandshake{transport: transport, record: &journal.Connection{Host: fmt.Sprintf("mx%d.contoso.com", i)}, policy: TLSPolicy{Verify: c.verify}}
			h.recordState(state)
		}
		if got := len(transport.sessions.origins); got != c.want {
			t.Errorf("%s: got %d hosts, want %d", name, got, c.want)
		}
	}
}
