package endtoend

import (
	"crypto/tls"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"sealpost/tests/rigs/parts"
	"sealpost/tests/rigs/tenant"
)

// liar is a tenant that misbehaves, and what a client is told of it.
type liar struct {
	name  string
	be    func(*tenant.Config)
	words string
	heard bool // a message may have been given to it before it was found out
}

// says makes a tenant answer one verb in its own way.
func says(verb, answer string) func(*tenant.Config) {
	return func(c *tenant.Config) {
		c.Script = func(asked, _ string) string {
			if asked == verb {
				return answer
			}
			return ""
		}
	}
}

// shows makes a tenant show another certificate.
func shows(certificate tls.Certificate) func(*tenant.Config) {
	return func(c *tenant.Config) { c.Certificate = certificate }
}

func both(first, second func(*tenant.Config)) func(*tenant.Config) {
	return func(c *tenant.Config) { first(c); second(c) }
}

func withoutChunking(c *tenant.Config) { c.Extensions = []string{"PIPELINING", "8BITMIME"} }

func liars(t *testing.T) []liar {
	t.Helper()
	long := strings.Repeat("x", 100_000)
	foreign := must(must(parts.NewAuthority("Foreign CA")).IssueP256(nil, "localhost"))
	return []liar{
		{"no STARTTLS", func(c *tenant.Config) { c.NoSTARTTLS = true }, "does not offer STARTTLS; mail is never sent in clear", false},
		{"STARTTLS refused", says("STARTTLS", "454 4.7.0 TLS not available"), "localhost said: 454 4.7.0 TLS not available", false},
		{"words in clear behind STARTTLS", says("STARTTLS", "220 go\r\n250 stay"), "sent clear text after agreeing to STARTTLS", false},
		{"an expired certificate", shows(must(authority().IssueP256(lastYear, "localhost"))), "it has expired", false},
		{"another name's certificate", shows(must(authority().IssueP256(nil, "elsewhere.example"))), "it is for another name", false},
		{"a foreign authority's certificate", shows(foreign), "its issuer is unknown", false},
		{"TLS 1.1", func(c *tenant.Config) { c.MinTLS, c.MaxTLS = tls.VersionTLS10, tls.VersionTLS11 }, "TLS 1.2 or later is needed", false},
		{"hanging up amid BDAT", says("MIDWAY", tenant.HangUp), "was lost", true},
		{"hanging up amid DATA", both(withoutChunking, says("MIDWAY", tenant.HangUp)), "was lost", true},
		{"hanging up after the content", says("CONTENT", tenant.HangUp), "was lost", true},
		{"a greeting of 100,000 characters", says("CONNECT", "220 "+long), "does not speak SMTP", false},
		{"an answer to MAIL of 100,000 characters", says("MAIL", "250 "+long), "does not speak SMTP", true},
		{"a last answer of 100,000 characters", says("CONTENT", "250 "+long), "does not speak SMTP", true},
		{"an answer without end", says("EHLO", strings.Repeat("250-more\r\n", 10_000)+"250 end"), "does not speak SMTP", false},
		{"another protocol", says("CONNECT", "HTTP/1.1 400 Bad Request"), "does not speak SMTP", false},
		{"silence instead of a greeting", says("CONNECT", tenant.Stall), "did not reply in time", false},
		{"silence instead of TLS", says("STARTTLS", tenant.Stall), "did not reply in time", false},
		{"silence amid BDAT", says("MIDWAY", tenant.Stall), "did not reply in time", true},
		{"silence amid DATA", both(withoutChunking, says("MIDWAY", tenant.Stall)), "did not reply in time", true},
		{"silence after the content", says("CONTENT", tenant.Stall), "did not reply in time", true},
	}
}

// TestMisbehavingServer_CostsNothingAndIsNamedToTheClient has one relay meet
// every liar, with the honest tenant in between.
func TestMisbehavingServer_CostsNothingAndIsNamedToTheClient(t *testing.T) {
	t.Parallel()
	honest := tenantConfig(t)
	upstream := startTenant(t, honest)
	s := relaySite(t, told{host: "localhost", port: upstream.Address().Port, upstream: `timeout = "2s"`}, clientCertificate(t, authority()))
	s.mustDeliver()
	usual := s.settledDescriptors()
	for _, liar := range liars(t) {
		t.Run(liar.name, func(t *testing.T) {
			config := honest
			liar.be(&config)
			upstream.Reconfigure(config)
			clear, arrived := len(upstream.Plaintext()), len(upstream.Messages())
			s.mustKeep(liar.words, "--body", "the secret recipe")
			for _, private := range []string{"MAIL", sender, recipient, "secret"} {
				if said := upstream.Plaintext()[clear:]; strings.Contains(said, private) {
					t.Errorf("said in clear: %q", said)
				}
			}
			if n := len(upstream.Messages()) - arrived; n > 0 && !liar.heard {
				t.Errorf("the liar has got %d messages", n)
			}
			upstream.Reconfigure(honest)
			s.awaitEmpty()
			s.mustDeliver()
			if n := len(upstream.Messages()) - arrived; n < 2 {
				t.Errorf("the honest tenant has got %d messages", n)
			}
			s.awaitDescriptors(t, usual)
		})
	}
}

// descriptors is how many files and connections the relay has open.
func (s *site) descriptors() int {
	s.t.Helper()
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.relay.PID()))
	if err != nil {
		s.t.Fatal(err)
	}
	return len(open)
}

// settledDescriptors is their number once it has been the same for a while: the
// relay lets the TPM and its clients go a moment after they were of use.
func (s *site) settledDescriptors() int {
	s.t.Helper()
	const calm = 50
	settled := s.descriptors()
	for same := 0; same < calm; time.Sleep(10 * time.Millisecond) {
		now := s.descriptors()
		if same++; now != settled {
			settled, same = now, 0
		}
	}
	return settled
}

// awaitDescriptors waits until the relay has no more open than usual.
func (s *site) awaitDescriptors(t *testing.T, usual int) {
	t.Helper()
	const timeout = 10 * time.Second
	for deadline := time.Now().Add(timeout); s.descriptors() > usual; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the relay has %d descriptors open, and %d usually", s.descriptors(), usual)
		}
	}
}
