package direct

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sealpost/relay/envelope"
	"sealpost/relay/journal"
	"sealpost/relay/reply"
	"sealpost/relay/upstream"
	"sealpost/relay/upstream/dns"
	"sealpost/relay/upstream/mtasts"
	"sealpost/tests/rigs/parts"
	"sealpost/tests/rigs/tenant"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// zones is what DNS and the policy hosts say; it is a Resolver and Policies.
type zones struct {
	mx        map[string][]dns.MX // by domain; a domain that is not here does not exist
	addresses map[string][]string // by host
	tlsa      map[string][]dns.TLSA
	policies  map[string]mtasts.Policy
	validated bool
	broken    map[string]bool // names whose lookup fails
	silent    bool            // no name server answers
}

func (z *zones) fault(name string) error {
	switch {
	case z.silent:
		return &net.DNSError{Err: "i/o timeout", Name: name, Server: "192.0.2.53:53", IsTimeout: true, IsTemporary: true}
	case z.broken[name]:
		return &net.DNSError{Err: "the server answers ServerFailure", Name: name, IsTemporary: true}
	}
	return nil
}

func (z *zones) MX(_ context.Context, domain string) ([]dns.MX, bool, error) {
	if err := z.fault(domain); err != nil {
		return nil, false, err
	}
	records, found := z.mx[domain]
	if !found {
		return nil, false, &net.DNSError{Err: "no such host", Name: domain, IsNotFound: true}
	}
	return slices.Clone(records), z.validated, nil
}

func (z *zones) Addresses(_ context.Context, host string) (addresses []netip.Addr, validated bool, err error) {
	if err := z.fault(host); err != nil {
		return nil, false, err
	}
	for _, text := range z.addresses[host] {
		addresses = append(addresses, netip.MustParseAddr(text))
	}
	return addresses, z.validated, nil
}

func (z *zones) LookupTLSA(_ context.Context, host string, port uint16) ([]dns.TLSA, bool, error) {
	return z.tlsa[host], z.validated, z.fault(fmt.Sprintf("_%d._tcp.%s", port, host))
}

func (z *zones) Policy(_ context.Context, domain string) (mtasts.Policy, error) {
	if policy, found := z.policies[domain]; found {
		return policy, nil
	}
	return mtasts.Policy{Mode: mtasts.None}, nil
}

type content string

func (c content) Open() io.Reader { return strings.NewReader(string(c)) }
func (c content) Size() int64     { return int64(len(c)) }

// receiver is a mail host, with a script of its own.
type receiver struct {
	*tenant.Tenant
	config tenant.Config
	stop   func()
}

// script replaces replies, by verb.
func (r *receiver) script(replies map[string]string) {
	r.SetScript(func(verb, _ string) string {
		if text, found := replies[verb]; found || verb != "RCPT" {
			return text
		}
		return "250 2.1.5 Recipient OK"
	})
}

var authority = sync.OnceValue(func() *parts.Authority {
	a, err := parts.NewAuthority("Test CA")
	if err != nil {
		panic(err)
	}
	return a
})

// lab is a Direct with receivers on the loopback addresses 127.0.0.2 and so on, which
// share a port.
type lab struct {
	*Direct
	zones     *zones
	receivers map[string]*receiver // by host
	log       *bytes.Buffer
	port      int
}

// newLab starts a receiver for each host, with a certificate for its name. mx1.a.com is a
// mail host of a.com, less preferred than those before it.
func newLab(t *testing.T, change func(*Config, *zones), hosts ...string) *lab {
	t.Helper()
	l := &lab{zones: &zones{mx: map[string][]dns.MX{}, addresses: map[string][]string{}, tlsa: map[string][]dns.TLSA{}, policies: map[string]mtasts.Policy{}, broken: map[string]bool{}},
		receivers: map[string]*receiver{}, log: new(bytes.Buffer)}
	listeners := loopback(t, len(hosts))
	for i, host := range hosts {
		certificate, err := authority().IssueP256(nil, host)
		if err != nil {
			t.Fatal(err)
		}
		_, domain, _ := strings.Cut(host, ".")
		tc := tenant.Config{Listener: listeners[i], Certificate: certificate}
		server, err := tenant.Start(tc)
		if err != nil {
			t.Fatal(err)
		}
		l.receivers[host] = &receiver{server, tc, sync.OnceFunc(server.Close)}
		t.Cleanup(l.receivers[host].stop)
		l.receivers[host].script(nil)
		l.port = server.Address().Port
		l.zones.addresses[host] = []string{server.Address().IP.String()}
		l.zones.mx[domain] = append(l.zones.mx[domain], dns.MX{Preference: uint16(10 * i), Host: host})
	}
	config := Config{Hello: "relay.contoso.com", Port: l.port, Roots: authority().Pool(), Connections: 10, PerDomain: 2,
		ReplyTimeout: 2 * time.Second, Resolver: l.zones, Policies: l.zones}
	if change != nil {
		change(&config, l.zones)
	}
	l.Direct = New(config, journal.New(slog.NewJSONHandler(l.log, nil)))
	t.Cleanup(l.Direct.Close)
	return l
}

// loopback listens on one port of n loopback addresses.
func loopback(t *testing.T, n int) []net.Listener {
	t.Helper()
	for range 100 {
		first, err := net.Listen("tcp", "127.0.0.2:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners := []net.Listener{first}
		for i := 1; i < n; i++ {
			next, err := net.Listen("tcp", fmt.Sprintf("127.0.0.%d:%d", i+2, first.Addr().(*net.TCPAddr).Port))
			if err != nil {
				break
			}
			listeners = append(listeners, next)
		}
		if len(listeners) == max(n, 1) {
			return listeners
		}
		for _, each := range listeners {
			_ = each.Close()
		}
	}
	t.Fatal("there is no port that is free on every address")
	return nil
}

// deliver sends a message, and returns the replies with the arguments of Settled.
func (l *lab) deliver(t *testing.T, recipients ...envelope.Address) (result upstream.Result, settled [][]reply.Reply, err error) {
	t.Helper()
	const text content = "From: a@contoso.com\r\n\r\nscan\r\n"
	e := envelope.Envelope{ID: "1", Sender: "a@contoso.com", Recipients: recipients, Size: text.Size()}
	result, err = l.Deliver(t.Context(), e, text, upstream.Transactions{
		ShouldSend: func([]reply.Reply) bool { return true },
		Settled:    func(replies []reply.Reply) { settled = append(settled, slices.Clone(replies)) },
	})
	return result, settled, err
}

// deliverTo sends a message to one domain. A domain that is unavailable alone counts as a
// transient reply.
func (l *lab) deliverTo(t *testing.T, recipient envelope.Address) (upstream.Result, error) {
	t.Helper()
	result, _, err := l.deliver(t, recipient)
	if u := (*upstream.Unavailable)(nil); errors.As(err, &u) && u.Account {
		return upstream.Result{Replies: []reply.Reply{u.ClientReply()}}, nil
	}
	return result, err
}

// ee returns TLSA records of the usage DANE-EE for a receiver's key.
func ee(r *receiver) []dns.TLSA {
	leaf := must(x509.ParseCertificate(r.config.Certificate.Certificate[0]))
	sum := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	return []dns.TLSA{{Usage: usageEE, Selector: selectorSPKI, MatchingType: matchSHA256, Data: sum[:]}}
}

// ta returns TLSA records of the usage DANE-TA for an authority.
func ta(certificate *x509.Certificate) []dns.TLSA {
	return []dns.TLSA{{Usage: usageTA, Selector: selectorCertificate, MatchingType: matchFull, Data: certificate.Raw}}
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}
