package endtoend

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"sealpost/tests/rigs/parts"
)

// dkimpy prints which of the signatures of a message are valid, with the records of a
// lookup.
const dkimpy = `
import dkim, json, sys
job = json.load(sys.stdin)
d = dkim.DKIM(job["Message"].encode())
count = sum(1 for name, _ in d.headers if name.lower() == b"dkim-signature")
lookup = lambda name, timeout=5: job["Records"].get((name.decode() if isinstance(name, bytes) else name).rstrip("."), "").encode()
print([d.verify(idx=i, dnsfunc=lookup) for i in range(count)])
`

// TestDirect_SignsByPublishedKeys makes keys in a TPM, publishes their records in a real
// name server, and verifies what a Postfix server gets.
func TestDirect_SignsByPublishedKeys(t *testing.T) {
	t.Parallel()
	s := newSite(t, siteConfig{upstream: "method = \"direct\"\nhold = \"15s\""})
	var printed struct {
		Records []struct{ Name, Value, Zone string }
	}
	if err := json.Unmarshal([]byte(s.run("dkim", "record", "--json").Out), &printed); err != nil {
		t.Fatal(err)
	}
	contoso, values := parts.Zone{Name: "contoso.com"}, map[string]string{}
	for _, r := range printed.Records {
		contoso.Records = append(contoso.Records, r.Zone)
		values[r.Name] = r.Value
	}
	const host = "127.0.0.25"
	port := must(parts.FreePort())
	postfix, err := parts.NewPostfix(folder(t), parts.PostfixConfig{Address: host, Port: port, Domains: []string{"fabrikam.example"}, Certificate: must(authority().IssueP256(nil, "mx.fabrikam.example"))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = postfix.Close() })
	resolver, err := parts.NewUnbound(folder(t), contoso, parts.Zone{Name: "fabrikam.example", Records: []string{"@ MX 10 mx", "mx A " + host}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(resolver.Close)
	s.config.upstream += fmt.Sprintf("\ndns = [%q]", resolver.Address)
	s.config.more = fmt.Sprintf("[upstream.direct]\nport = %d\nca_file = %q\n", port, s.path("ca.pem"))
	s.configure()

	send := func(n int) (signatures string) {
		t.Helper()
		if output, err := s.swaks("--h-Subject", "Grüße", "--body", "Grüße  aus \tLeeds \n\n.\n\n"); err != nil {
			t.Fatalf("%v: %s%s", err, output, s.relay.Log)
		}
		messages, err := postfix.Messages(n)
		if err != nil {
			t.Fatal(err)
		}
		job, err := json.Marshal(map[string]any{"Message": messages[n-1], "Records": values})
		if err != nil {
			t.Fatal(err)
		}
		command := exec.Command("/usr/bin/python3", "-c", dkimpy)
		command.Stdin = bytes.NewReader(job)
		output, err := command.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s\n%s", err, output, messages[n-1])
		}
		return strings.TrimSpace(string(output))
	}
	s.start()
	if got := send(1); got != "[]" {
		t.Errorf("before the keys are activated: got signatures %s, want none", got)
	}
	if out := s.run("dkim", "activate").Out; !strings.Contains(out, "tpm-resident") || !strings.Contains(out, "tpm-sealed") {
		t.Errorf("got %s", out)
	}
	s.stop()
	s.start()
	if got := send(2); got != "[True, True]" {
		t.Errorf("got signatures %s, want two valid ones", got)
	}
}
