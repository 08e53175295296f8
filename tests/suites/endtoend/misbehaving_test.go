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

// misbehaviour is a fault of the tenant, and the reason that a client gets.
type misbehaviour struct {
	name       string
	apply      func(*tenant.Config)
	reason     string
	mayReceive bool // the tenant may get a message before the relay detects the fault
}

// withReply sets the reply to one verb.
func withReply(verb, reply string) func(*tenant.Config) {
	return func(c *tenant.Config) {
		c.Script = func(got, _ string) string {
			if got == verb {
				return reply
			}
			return ""
		}
	}
}

// withCertificate sets the server certificate.
func withCertificate(certificate tls.Certificate) func(*tenant.Config) {
	return func(c *tenant.Config) { c.Certificate = certificate }
}

func both(first, second func(*tenant.Config)) func(*tenant.Config) {
	return func(c *tenant.Config) { first(c); second(c) }
}

func withoutChunking(c *tenant.Config) { c.Extensions = []string{"PIPELINING", "8BITMIME"} }

func misbehaviours(t *testing.T) []misbehaviour {
	t.Helper()
	long := strings.Repeat("x", 100_000)
	foreign := must(must(parts.NewAuthority("Foreign CA")).IssueP256(nil, "localhost"))
	return []misbehaviour{
		{"no STARTTLS", func(c *tenant.Config) { c.NoSTARTTLS = true }, "does not offer STARTTLS; mail is never sent in clear", false},
		{"STARTTLS refused", withReply("STARTTLS", "454 4.7.0 TLS not available"), "localhost said: 454 4.7.0 TLS not available", false},
		{"plaintext after STARTTLS", withReply("STARTTLS", "220 go\r\n250 stay"), "sent clear text after agreeing to STARTTLS", false},
		{"expired certificate", withCertificate(must(authority().IssueP256(expiredYesterday, "localhost"))), "it has expired", false},
		{"certificate for another name", withCertificate(must(authority().IssueP256(nil, "elsewhere.example"))), "it is for another name", false},
		{"certificate of an unknown authority", withCertificate(foreign), "its issuer is unknown", false},
		{"TLS 1.1", func(c *tenant.Config) { c.MinTLS, c.MaxTLS = tls.VersionTLS10, tls.VersionTLS11 }, "TLS 1.2 or later is needed", false},
		{"disconnect during BDAT", withReply("MIDWAY", tenant.HangUp), "was lost", true},
		{"disconnect during DATA", both(withoutChunking, withReply("MIDWAY", tenant.HangUp)), "was lost", true},
		{"disconnect after the content", withReply("CONTENT", tenant.HangUp), "was lost", true},
		{"greeting of 100,000 characters", withReply("CONNECT", "220 "+long), "does not speak SMTP", false},
		{"reply to MAIL of 100,000 characters", withReply("MAIL", "250 "+long), "does not speak SMTP", true},
		{"final reply of 100,000 characters", withReply("CONTENT", "250 "+long), "does not speak SMTP", true},
		{"EHLO reply of 10,001 lines", withReply("EHLO", strings.Repeat("250-more\r\n", 10_000)+"250 end"), "does not speak SMTP", false},
		{"another protocol", withReply("CONNECT", "HTTP/1.1 400 Bad Request"), "does not speak SMTP", false},
		{"no greeting", withReply("CONNECT", tenant.Stall), "did not reply in time", false},
		{"no reply to STARTTLS", withReply("STARTTLS", tenant.Stall), "did not reply in time", false},
		{"no reply during BDAT", withReply("MIDWAY", tenant.Stall), "did not reply in time", true},
		{"no reply during DATA", both(withoutChunking, withReply("MIDWAY", tenant.Stall)), "did not reply in time", true},
		{"no reply after the content", withReply("CONTENT", tenant.Stall), "did not reply in time", true},
	}
}

// TestMisbehavingServer_LosesNoMailAndIsReportedToTheClient runs one relay against
// every misbehaviour, with a correct tenant in between.
func TestMisbehavingServer_LosesNoMailAndIsReportedToTheClient(t *testing.T) {
	t.Parallel()
	correct := tenantConfig(t)
	upstream := startTenant(t, correct)
	s := relaySite(t, siteConfig{host: "localhost", port: upstream.Address().Port, upstream: `timeout = "2s"`}, clientCertificate(t, authority()))
	s.mustDeliver()
	before := s.stableDescriptors()
	for _, m := range misbehaviours(t) {
		t.Run(m.name, func(t *testing.T) {
			config := correct
			m.apply(&config)
			upstream.Reconfigure(config)
			plaintext, arrived := len(upstream.Plaintext()), len(upstream.Messages())
			s.mustQueue(m.reason, "--body", "the secret recipe")
			for _, private := range []string{"MAIL", sender, recipient, "secret"} {
				if sent := upstream.Plaintext()[plaintext:]; strings.Contains(sent, private) {
					t.Errorf("%q was sent in plaintext: %q", private, sent)
				}
			}
			if n := len(upstream.Messages()) - arrived; n > 0 && !m.mayReceive {
				t.Errorf("the misbehaving tenant got %d messages, want 0", n)
			}
			upstream.Reconfigure(correct)
			s.awaitEmpty()
			s.mustDeliver()
			if n := len(upstream.Messages()) - arrived; n < 2 {
				t.Errorf("the correct tenant got %d messages, want at least 2", n)
			}
			s.awaitDescriptors(t, before)
		})
	}
}

// descriptors returns the number of open files and connections of the relay.
func (s *site) descriptors() int {
	s.t.Helper()
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.relay.PID()))
	if err != nil {
		s.t.Fatal(err)
	}
	return len(open)
}

// stableDescriptors waits until their number is stable: the relay closes connections
// to the TPM and to clients a moment after the last use.
func (s *site) stableDescriptors() int {
	s.t.Helper()
	const samples = 50
	stable := s.descriptors()
	for same := 0; same < samples; time.Sleep(10 * time.Millisecond) {
		now := s.descriptors()
		if same++; now != stable {
			stable, same = now, 0
		}
	}
	return stable
}

// awaitDescriptors waits until the relay has at most limit descriptors open.
func (s *site) awaitDescriptors(t *testing.T, limit int) {
	t.Helper()
	const timeout = 10 * time.Second
	for deadline := time.Now().Add(timeout); s.descriptors() > limit; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("got %d open descriptors, want at most %d", s.descriptors(), limit)
		}
	}
}
