package endtoend

import (
	"bufio"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sealpost/tests/rigs/parts"
)

// greylist is a Postfix policy server that defers the first two attempts of each recipient
// of one domain, and refuses recipients named "unknown".
func greylist(t *testing.T, domain string) (address string) {
	t.Helper()
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	t.Cleanup(func() { _ = listener.Close() })
	var mu sync.Mutex
	seen := map[string]int{}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				to := ""
				for lines := bufio.NewScanner(conn); lines.Scan(); {
					if recipient, found := strings.CutPrefix(lines.Text(), "recipient="); found {
						to = recipient
					}
					if lines.Text() != "" {
						continue
					}
					mu.Lock()
					action := "dunno"
					switch {
					case strings.HasPrefix(to, "unknown@"):
						action = "550 5.1.1 no such user"
					case strings.HasSuffix(to, "@"+domain) && seen[to] < 2:
						action = "451 4.7.1 greylisted, try again later"
					}
					seen[to]++
					mu.Unlock()
					if _, err := fmt.Fprintf(conn, "action=%s\n\n", action); err != nil {
						return
					}
				}
			}()
		}
	}()
	return listener.Addr().String()
}

// policyHost serves MTA-STS policies by HTTPS on a free address of this machine.
func policyHost(t *testing.T, policies map[string]string) (address string) {
	t.Helper()
	names := []string{"policy.lab.example"}
	for domain := range policies {
		names = append(names, "mta-sts."+domain)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		policy, found := policies[strings.TrimPrefix(r.Host, "mta-sts.")]
		if !found || r.URL.Path != "/.well-known/mta-sts.txt" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, policy)
	}))
	var err error
	for n := range 200 {
		address = fmt.Sprintf("127.0.3.%d", n+1)
		if server.Listener, err = net.Listen("tcp", net.JoinHostPort(address, "443")); err == nil {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	server.TLS = &tls.Config{Certificates: []tls.Certificate{must(authority().IssueP256(nil, names...))}}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	return address
}

// receivers are the mail hosts and the DNS of a test of direct delivery.
type receivers struct {
	port     int
	resolver *parts.Unbound
	public   *parts.Postfix // on 127.0.0.21, mx1.lab.example, with a certificate that the relay trusts
	private  *parts.Postfix // on 127.0.0.22, mx2.lab.example, whose certificate has no public root
	clear    *parts.Postfix // on 127.0.0.23, mx3.lab.example, without TLS
	ipv6     *parts.Postfix // on ::1, mx6.lab.example
}

// newReceivers starts four Postfix servers that accept mail for every domain of the zones,
// a policy host, and a resolver that validates.
func newReceivers(t *testing.T, policies map[string]string, zones ...parts.Zone) *receivers {
	t.Helper()
	r := &receivers{port: must(parts.FreePort())}
	var domains []string
	for _, zone := range zones {
		domains = append(domains, zone.Name)
	}
	private := must(parts.NewAuthority("Private CA"))
	privately := must(private.IssueP256(nil, "mx2.lab.example"))
	postfix := func(c parts.PostfixConfig) *parts.Postfix {
		c.Port, c.Domains = r.port, domains
		p, err := parts.NewPostfix(folder(t), c)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = p.Close() })
		return p
	}
	r.public = postfix(parts.PostfixConfig{Address: "127.0.0.21", Certificate: must(authority().IssueP256(nil, "mx1.lab.example")), Policy: greylist(t, "grey.example")})
	r.private = postfix(parts.PostfixConfig{Address: "127.0.0.22", Certificate: privately, Without: "chunking"})
	r.clear = postfix(parts.PostfixConfig{Address: "127.0.0.23", Certificate: privately, NoTLS: true})
	r.ipv6 = postfix(parts.PostfixConfig{Address: "::1", Certificate: must(authority().IssueP256(nil, "mx6.lab.example"))})

	policyAddress := policyHost(t, policies)
	leaf := must(x509.ParseCertificate(privately.Certificate[0]))
	zones = append(zones, parts.Zone{Name: "lab.example", Signed: true, Records: []string{
		"mx1 A 127.0.0.21", "mx2 A 127.0.0.22", "mx3 A 127.0.0.23", "mx6 AAAA ::1", "dead A 127.0.0.29", "policy A " + policyAddress,
		fmt.Sprintf("_%d._tcp.mx2 TLSA 3 1 1 %x", r.port, sha256.Sum256(leaf.RawSubjectPublicKeyInfo)),
		// Another name of the same server, with a record that does not match.
		"mx4 A 127.0.0.22", fmt.Sprintf("_%d._tcp.mx4 TLSA 3 1 1 %064x", r.port, 1),
	}})
	for i, zone := range zones {
		if policies[zone.Name] != "" {
			zones[i].Records = append(zone.Records, "mta-sts CNAME policy.lab.example.", `_mta-sts TXT "v=STSv1; id=1;"`)
		}
	}
	resolver, err := parts.NewUnbound(folder(t), zones...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(resolver.Close)
	r.resolver = resolver
	return r
}

// site returns a box that delivers to the receivers directly.
func (r *receivers) site(t *testing.T, direct string) *site {
	t.Helper()
	s := newSite(t, siteConfig{upstream: "method = \"direct\"\nhold = \"15s\"", journal: "conversation = true"})
	s.config.more = fmt.Sprintf("[upstream.direct]\nport = %d\nresolver = %q\nca_file = %q\n%s", r.port, r.resolver.Address, s.path("ca.pem"), direct)
	if err := s.box.Configure(s.settings()); err != nil {
		t.Fatal(err)
	}
	s.start()
	return s
}

func policy(mode, mx string) string {
	return "version: STSv1\r\nmode: " + mode + "\r\nmx: " + mx + "\r\nmax_age: 86400\r\n"
}

func TestDirect_SendsByWhatTheDomainsPublish(t *testing.T) {
	t.Parallel()
	mx := func(host string) []string { return []string{"@ MX 10 " + host + ".lab.example."} }
	cases := []struct {
		zone   parts.Zone
		policy string
		host   string // that got the message
		wanted string // of TLS
		reply  string // to the recipient
		held   string // why the domain's mail is held
	}{
		{zone: parts.Zone{Name: "plain.example", Records: mx("mx1")}, host: "mx1", wanted: "verified certificate", reply: "250"},
		{zone: parts.Zone{Name: "private.example", Records: mx("mx2")}, held: "the certificate of mx2.lab.example is not trusted"},
		{zone: parts.Zone{Name: "sts.example", Records: mx("mx1")}, policy: policy("enforce", "mx1.lab.example"), host: "mx1", wanted: "MTA-STS", reply: "250"},
		{zone: parts.Zone{Name: "stsbad.example", Records: mx("mx2")}, policy: policy("enforce", "*.lab.example"), held: "the certificate of mx2.lab.example is not trusted"},
		{zone: parts.Zone{Name: "stsother.example", Records: mx("mx1")}, policy: policy("enforce", "mx9.lab.example"), held: "the MTA-STS policy of stsother.example does not list its mail host mx1.lab.example"},
		{zone: parts.Zone{Name: "ststest.example", Records: mx("mx1")}, policy: policy("testing", "mx9.lab.example"), host: "mx1", wanted: "verified certificate, MTA-STS is testing", reply: "250"},
		{zone: parts.Zone{Name: "dane.example", Signed: true, Records: mx("mx2")}, host: "mx2", wanted: "DANE", reply: "250"},
		{zone: parts.Zone{Name: "danebad.example", Signed: true, Records: mx("mx4")}, held: "the certificate of mx4.lab.example is not trusted: DANE: no TLSA record matches"},
		{zone: parts.Zone{Name: "bogus.example", Bogus: true, Records: mx("mx2")}, held: "the DNS of the mail hosts of bogus.example fails"},
		{zone: parts.Zone{Name: "null.example", Records: []string{"@ MX 0 ."}}, reply: "556 5.1.10 the domain null.example accepts no mail (null MX)"},
		{zone: parts.Zone{Name: "empty.example"}, reply: "550 5.1.2 the domain empty.example has no mail host"},
		{zone: parts.Zone{Name: "dead.example", Records: []string{"@ MX 10 dead.lab.example.", "@ MX 20 mx1.lab.example."}}, host: "mx1", wanted: "verified certificate", reply: "250"},
		{zone: parts.Zone{Name: "grey.example", Records: mx("mx1")}, host: "mx1", wanted: "verified certificate", reply: "250"},
		{zone: parts.Zone{Name: "clear.example", Records: mx("mx3")}, held: "mx3.lab.example does not offer STARTTLS; mail to this domain is held"},
		{zone: parts.Zone{Name: "ipv6.example", Records: mx("mx6")}, host: "mx6", wanted: "verified certificate", reply: "250"},
		{zone: parts.Zone{Name: "encrypt.example", Records: mx("mx2")}, host: "mx2", wanted: "any certificate, by the settings", reply: "250"},
		{zone: parts.Zone{Name: "may.example", Records: mx("mx3")}, host: "mx3", wanted: "if offered, by the settings", reply: "250"},
	}
	policies, zones := map[string]string{}, []parts.Zone{}
	for _, c := range cases {
		zones = append(zones, c.zone)
		if c.policy != "" {
			policies[c.zone.Name] = c.policy
		}
	}
	r := newReceivers(t, policies, zones...)
	s := r.site(t, "[[upstream.direct.domain]]\nname = \"encrypt.example\"\ntls = \"encrypt\"\n[[upstream.direct.domain]]\nname = \"may.example\"\ntls = \"may\"\n")
	var sending sync.WaitGroup
	for _, c := range cases {
		sending.Go(func() { _, _ = s.swaks("--to", "alice@"+c.zone.Name) })
	}
	sending.Wait()

	deadline := time.Now().Add(time.Minute)
	table := "domain            wanted of TLS                              had      host             reply\n"
	for _, c := range cases {
		name, last := c.zone.Name, ""
		for {
			for _, event := range slices.Concat(s.relay.Log.Events("recipient"), s.relay.Log.Events("delivered")) {
				if event["to"] == "<alice@"+name+">" {
					last, _ = event["answer"].(string)
				}
			}
			for _, event := range s.relay.Log.Events("upstream held") {
				if event["account"] == name {
					last, _ = event["words"].(string)
				}
			}
			if strings.HasPrefix(last, c.reply+c.held) {
				break
			}
			if time.Now().After(deadline) {
				t.Errorf("%s: got %q, want %q", name, last, c.reply+c.held)
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		host, wanted, had := "", "", ""
		for _, event := range s.relay.Log.Events("transaction") {
			upstream, _ := event["upstream"].(map[string]any)
			if event["domain"] == name && upstream != nil {
				host, wanted, had = fmt.Sprint(upstream["host"]), fmt.Sprint(upstream["wanted"]), fmt.Sprint(upstream["tls"])
			}
		}
		if c.host != "" && (host != c.host+".lab.example" || wanted != c.wanted || (had == "none") != (name == "may.example")) {
			t.Errorf("%s: went to %s with %q, got TLS %s, want %s with %q", name, host, wanted, had, c.host, c.wanted)
		}
		if c.host == "" && host != "" {
			t.Errorf("%s: went to %s, want it held", name, host)
		}
		table += fmt.Sprintf("%-17s %-42s %-8s %-16s %.100s\n", name, wanted, had, host, last)
	}
	t.Logf("from the journal:\n%s", table)
	if t.Failed() {
		t.Fatal(s.relay.Log)
	}
	for host, want := range map[*parts.Postfix]int{r.public: 5, r.private: 2, r.clear: 1, r.ipv6: 1} {
		if got, err := host.Messages(want); err != nil || len(got) != want {
			t.Errorf("a host got %d messages, %v, want %d", len(got), err, want)
		}
	}
}
