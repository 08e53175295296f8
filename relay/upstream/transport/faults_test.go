package transport

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"sealpost/relay/upstream"
	"sealpost/tests/rigs/parts"
	"sealpost/tests/rigs/tenant"
)

func expired(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) }

func TestTransport_DescribesFaultsAndSendsNothingInClear(t *testing.T) {
	script := func(at, text string) func(*tenant.Config) {
		return func(c *tenant.Config) {
			c.Script = func(verb, _ string) string {
				if verb == at {
					return text
				}
				return ""
			}
		}
	}
	for name, c := range map[string]struct {
		tenant func(*tenant.Config)
		config func(*Config)
		text   string
	}{
		"no STARTTLS":                  {func(c *tenant.Config) { c.NoSTARTTLS = true }, nil, "4.7.5 " + mx + " does not offer STARTTLS; mail is never sent in clear: check upstream.host, and have no firewall inspect"},
		"STARTTLS refused":             {script("STARTTLS", "454 4.7.0 TLS not available"), nil, "4.4.2 " + mx + " said: 454 4.7.0 TLS not available"},
		"clear text after STARTTLS":    {script("STARTTLS", "220 go ahead\r\n250 forged"), nil, "tampering with the connection: have no firewall inspect"},
		"hangs up before TLS":          {script("STARTTLS", tenant.HangUp), nil, "4.4.2"},
		"expired certificate":          {func(c *tenant.Config) { c.Certificate = must(authority().IssueP256(expired, mx)) }, nil, "it has expired or is not valid yet; check the box's clock too"},
		"wrong name":                   {func(c *tenant.Config) { c.Certificate = must(authority().IssueP256(nil, "mx.evil.example")) }, nil, "it is for another name; check upstream.host; mail is never"},
		"unknown issuer":               {nil, func(c *Config) { c.Roots = must(parts.NewAuthority("Other")).Pool() }, "its issuer is unknown"},
		"TLS 1.1":                      {func(c *tenant.Config) { c.MinTLS, c.MaxTLS = tls.VersionTLS10, tls.VersionTLS11 }, nil, "TLS 1.2 or later is needed (protocol version not supported); mail is never sent in clear: check upstream.host"},
		"closes at once":               {script("CONNECT", tenant.HangUp), nil, "4.4.2 the connection to " + mx + " was lost: check the internet connection"},
		"closes midway":                {script("MIDWAY", tenant.HangUp), nil, "4.4.2"},
		"stalls at once":               {script("CONNECT", tenant.Stall), nil, "4.4.2 " + mx + " did not reply in time: check the internet connection"},
		"stalls midway":                {script("MIDWAY", tenant.Stall), nil, "4.4.2 " + mx + " did not reply in time"},
		"stalls at the end":            {script("CONTENT", tenant.Stall), nil, "4.4.2 " + mx + " did not reply in time"},
		"100,000 characters":           {script("CONNECT", "220 "+strings.Repeat("x", 100_000)), nil, "4.5.0 " + mx + " does not speak SMTP: a reply line longer"},
		"100,000 characters under TLS": {script("RCPT", "250 "+strings.Repeat("x", 100_000)), nil, "4.5.0 " + mx + " does not speak SMTP: a reply line longer"},
		"endless reply":                {script("EHLO", strings.Repeat("250-x\r\n", 1000)+"250 x"), nil, "more than 128 lines"},
		"not SMTP":                     {script("CONNECT", "SSH-2.0-OpenSSH_9.2"), nil, "does not speak SMTP: not an SMTP reply: check upstream.host"},
		"busy at the greeting":         {script("CONNECT", "421 4.3.2 Service not available"), nil, "said: 421 4.3.2 Service not available"},
		"busy at MAIL":                 {script("MAIL", "421 4.3.2 Service not available"), nil, "said: 421 4.3.2 Service not available"},
		"an unexpected 3yz reply":      {script("CONTENT", "354 go on"), nil, "said: 354 go on"},
		"no server":                    {nil, func(c *Config) { c.Port = 1 }, "4.4.1 cannot reach " + mx + ": check the internet line and that outbound port 1 is open"},
		"unknown name":                 {nil, func(c *Config) { c.Resolver = resolver{unknown: true} }, "4.4.4 the name " + mx + " does not exist in DNS"},
		"silent name server":           {nil, func(c *Config) { c.Resolver = resolver{silent: "192.0.2.53:53"} }, "4.4.4 no DNS response for " + mx + " from 192.0.2.53:53: check the network"},
		"the key fails":                {nil, nil, "4.3.5 the key of the client certificate cannot be used: TPM absent"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, c.tenant, func(config *Config) {
				config.ReplyTimeout = 300 * time.Millisecond
				if c.config != nil {
					c.config(config)
				}
			})
			if name == "the key fails" {
				s.method.key = brokenKey{s.method.key}
			}
			_, err := s.deliver(message("1"))
			u := (*upstream.Unavailable)(nil)
			if !errors.As(err, &u) {
				t.Fatalf("got %v, want an *upstream.Unavailable", err)
			}
			if got := u.ClientReply(); got.Code != 451 || !strings.Contains(got.String(), c.text) {
				t.Errorf("got reply %q, want %q (%v)", got, c.text, err)
			}
			if clear := s.tenant.Plaintext(); strings.Contains(clear, "MAIL") || strings.Contains(clear, "scan") {
				t.Errorf("sent in clear: %q", clear)
			}
			if len(s.tenant.Messages()) != 0 && name != "stalls at the end" {
				t.Error("the tenant accepted the message")
			}
		})
	}
}

// brokenKey is a key whose TPM is missing.
type brokenKey struct{ crypto.Signer }

func (brokenKey) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("TPM absent: check that it is fitted")
}

func TestTransport_WaitsForASlowFinalReply(t *testing.T) {
	s := newSite(t, nil, func(c *Config) { c.ReplyTimeout = 500 * time.Millisecond })
	s.tenant.SetScript(func(verb, _ string) string {
		if verb == "CONTENT" {
			time.Sleep(2 * time.Second)
		}
		return ""
	})
	if result, err := s.deliver(message("1")); err != nil || !result.Accepted {
		t.Errorf("got %+v, %v, want accepted", result, err)
	}
}

func TestTransport_RejectsAnUnsolicitedReply(t *testing.T) {
	for _, verb := range []string{"CONTENT", "RCPT"} {
		s := newSite(t, nil, nil)
		s.tenant.SetScript(func(command, _ string) string {
			if command == verb {
				return "250 2.0.0 yes\r\n250 2.0.0 and again"
			}
			return ""
		})
		_, first := s.deliver(message("1"))
		s.tenant.SetScript(func(command, _ string) string {
			if command == "CONTENT" {
				return "550 5.7.1 refused"
			}
			return ""
		})
		second, err := s.deliver(message("2"))
		if err != nil || second.Accepted || second.Replies[0].Code != 550 {
			t.Errorf("two replies to %s: got %v, then %+v, %v, want reply 550 to the second message", verb, first, second, err)
		}
	}
}

func TestSessions_ShareTheFailureOfADeadHost(t *testing.T) {
	s := newSite(t, func(c *tenant.Config) {
		c.Script = func(verb, _ string) string {
			if verb == "CONNECT" {
				return tenant.Stall
			}
			return ""
		}
	}, func(c *Config) { c.ReplyTimeout, c.Connections = 200*time.Millisecond, 20 })
	var deliveries sync.WaitGroup
	for range 20 {
		deliveries.Go(func() {
			if _, err := s.deliver(message("1")); err == nil || !strings.Contains(err.Error(), "did not reply in time") {
				t.Errorf("got %v, want an error with %q", err, "did not reply in time")
			}
		})
	}
	deliveries.Wait()
	if opened := s.tenant.Connections(); opened > 3 {
		t.Errorf("got %d connection attempts, want at most 3", opened)
	}
}

func TestPool_ReportsBusyConnections(t *testing.T) {
	s := newSite(t, nil, func(c *Config) { c.Connections = 1 })
	s.tenant.SetScript(func(verb, _ string) string {
		if verb == "CONTENT" {
			time.Sleep(500 * time.Millisecond)
		}
		return ""
	})
	var first sync.WaitGroup
	first.Go(func() { _, _ = s.deliver(message("1")) })
	for s.tenant.Connections() == 0 {
		time.Sleep(time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_, err := s.transport.Deliver(ctx, Destination{}, message("2"), scan, always)
	if err == nil || !strings.Contains(err.Error(), "all connections to the mail host are busy") {
		t.Errorf("got %v, want an error with %q", err, "all connections to the mail host are busy")
	}
	first.Wait()
}

func TestTransport_TimesOutOnAnEndlessServer(t *testing.T) {
	s := newSite(t, func(c *tenant.Config) {
		c.Script = func(verb, _ string) string {
			if verb == "MAIL" {
				return tenant.Stall
			}
			return ""
		}
	}, nil)
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	begun := time.Now()
	if _, err := s.transport.Deliver(ctx, Destination{}, message("1"), scan, always); err == nil || !strings.Contains(err.Error(), "did not reply in time") {
		t.Errorf("got %v, want an error with %q", err, "did not reply in time")
	}
	if took := time.Since(begun); took > 3*time.Second {
		t.Errorf("got the error after %v, want at most 3s", took)
	}
}

func TestTransport_DistinguishesLossDuringATransaction(t *testing.T) {
	for _, c := range []struct {
		verb, reply   string
		inTransaction bool
		unanswered    bool // the server may have the message
	}{
		{"CONNECT", tenant.HangUp, false, false},
		{"EHLO", tenant.HangUp, false, false},
		{"MAIL", tenant.HangUp, true, false},
		{"RCPT", tenant.HangUp, true, false},
		{"DATA", tenant.HangUp, true, false},
		{"MIDWAY", tenant.HangUp, true, true}, // all octets are on their way already
		{"CONTENT", tenant.HangUp, true, true},
		{"CONTENT", "354 go on", true, true},
		{"CONTENT", "421 4.3.2 closing", true, false},
	} {
		for _, extension := range []string{"CHUNKING", "PIPELINING"} {
			s := newSite(t, func(config *tenant.Config) {
				config.Extensions = []string{"SIZE 157286400", extension}
				config.Script = func(command, _ string) string {
					if command == c.verb {
						return c.reply
					}
					return ""
				}
			}, nil)
			_, err := s.deliver(message("1"))
			u := (*upstream.Unavailable)(nil)
			if c.verb == "DATA" && extension == "CHUNKING" && err == nil {
				continue
			}
			if !errors.As(err, &u) || u.DuringTransaction != c.inTransaction || u.Unanswered != c.unanswered {
				t.Errorf("%s at %s with %s: got %+v, %v, want DuringTransaction %t, Unanswered %t", c.reply, c.verb, extension, u, err, c.inTransaction, c.unanswered)
			}
		}
	}
}
