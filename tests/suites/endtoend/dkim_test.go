package endtoend

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"sealpost/tests/rigs/oddmail"
	"sealpost/tests/rigs/parts"
)

// dkimpy prints which of the signatures of a message are valid, with the records of a
// lookup.
const dkimpy = `
import base64, dkim, json, sys
job = json.load(sys.stdin)
lookup = lambda name, timeout=5: job["Records"].get((name.decode() if isinstance(name, bytes) else name).rstrip("."), "").encode()
for message in job["Messages"]:
    d = dkim.DKIM(base64.b64decode(message))
    ours = [i for i, (_, value) in enumerate(h for h in d.headers if h[0].lower() == b"dkim-signature") if b"d=contoso.com" in value]
    print([d.verify(idx=i, dnsfunc=lookup) for i in ours])
`

// signingSite is a box that delivers directly to two Postfix servers, with keys in a TPM
// whose records are in a real name server.
type signingSite struct {
	*site
	bdat, data *parts.Postfix    // for fabrikam.example, and for data.example without CHUNKING
	records    map[string]string // of the keys, by name
}

func newSigningSite(t *testing.T) *signingSite {
	t.Helper()
	s := &signingSite{site: newSite(t, siteConfig{upstream: "method = \"direct\"\nhold = \"15s\""}), records: map[string]string{}}
	var printed struct {
		Records []struct{ Name, Value, Zone string }
	}
	if err := json.Unmarshal([]byte(s.run("dkim", "record", "--json").Out), &printed); err != nil {
		t.Fatal(err)
	}
	contoso := parts.Zone{Name: "contoso.com"}
	for _, r := range printed.Records {
		contoso.Records = append(contoso.Records, r.Zone)
		s.records[r.Name] = r.Value
	}
	port := must(parts.FreePort())
	receiver := func(domain, address, without string) *parts.Postfix {
		postfix, err := parts.NewPostfix(folder(t), parts.PostfixConfig{Address: address, Port: port, Domains: []string{domain}, Without: without,
			Certificate: must(authority().IssueP256(nil, "mx."+domain))})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = postfix.Close() })
		return postfix
	}
	s.bdat = receiver("fabrikam.example", "127.0.0.25", "")
	s.data = receiver("data.example", "127.0.0.26", "chunking")
	resolver, err := parts.NewUnbound(folder(t), contoso,
		parts.Zone{Name: "fabrikam.example", Records: []string{"@ MX 10 mx", "mx A 127.0.0.25"}},
		parts.Zone{Name: "data.example", Records: []string{"@ MX 10 mx", "mx A 127.0.0.26"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(resolver.Close)
	s.config.upstream += fmt.Sprintf("\ndns = [%q]", resolver.Address)
	s.config.more = fmt.Sprintf("[upstream.direct]\nport = %d\nca_file = %q\n", port, s.path("ca.pem"))
	s.configure()
	s.start()
	return s
}

// activate makes the relay sign.
func (s *signingSite) activate() {
	s.t.Helper()
	if out := s.run("dkim", "activate").Out; !strings.Contains(out, "tpm-resident") || !strings.Contains(out, "tpm-sealed") {
		s.t.Errorf("got %s", out)
	}
	s.stop()
	s.start()
}

// verify returns for each message which of our signatures dkimpy finds valid.
func (s *signingSite) verify(messages ...string) []string {
	s.t.Helper()
	var raw [][]byte
	for _, message := range messages {
		raw = append(raw, []byte(message))
	}
	job, err := json.Marshal(map[string]any{"Messages": raw, "Records": s.records})
	if err != nil {
		s.t.Fatal(err)
	}
	command := exec.Command("/usr/bin/python3", "-c", dkimpy)
	command.Stdin = bytes.NewReader(job)
	output, err := command.CombinedOutput()
	results := strings.Split(strings.TrimSpace(string(output)), "\n")
	if err != nil || len(results) != len(messages) {
		s.t.Fatalf("%v: %d results for %d messages: %s", err, len(results), len(messages), output)
	}
	return results
}

// TestDirect_SignsByPublishedKeys verifies what a Postfix server gets.
func TestDirect_SignsByPublishedKeys(t *testing.T) {
	t.Parallel()
	s := newSigningSite(t)
	for n, want := range []string{"[]", "[True, True]"} {
		if output, err := s.swaks("--h-Subject", "Grüße", "--body", "Grüße  aus \tLeeds \n\n.\n\n"); err != nil {
			t.Fatalf("%v: %s%s", err, output, s.relay.Log)
		}
		messages, err := s.bdat.Messages(n + 1)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.verify(messages[n])[0]; got != want {
			t.Errorf("message %d: got signatures %s, want %s", n+1, got, want)
		}
		if n == 0 {
			s.activate()
		}
	}
}

// TestDirect_SignsMessagesOfOddShapes sends each message to a server that takes BDAT and to
// one that takes only DATA.
func TestDirect_SignsMessagesOfOddShapes(t *testing.T) {
	t.Parallel()
	s := newSigningSite(t)
	s.activate()
	client := dialContentClient(t, s.address(), "clear")
	sent := 0
	for name, message := range oddmail.Messages() {
		t.Logf("sending: %s", name)
		client.command(t, 250, "MAIL FROM:<"+sender+">")
		client.command(t, 250, "RCPT TO:<"+recipient+">")
		client.command(t, 250, "RCPT TO:<bob@data.example>")
		client.data(t, nil, strings.ReplaceAll(message, "\n", "\r\n"))
		sent++
	}
	s.awaitEmpty()
	for command, postfix := range map[string]*parts.Postfix{"BDAT": s.bdat, "DATA": s.data} {
		messages, err := postfix.Messages(sent)
		if err != nil || sent < 50 {
			t.Fatalf("%s: %d messages sent: %v", command, sent, err)
		}
		valid := 0
		for i, got := range s.verify(messages...) {
			if got != "[True, True]" {
				t.Errorf("%s: got signatures %s of\n%.2000s", command, got, messages[i])
			} else {
				valid++
			}
		}
		t.Logf("%s: both signatures of %d of %d messages are valid", command, valid, len(messages))
	}
}
