//go:build !quick

package dkim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"sealpost/relay/body"
	"sealpost/relay/header"
	"sealpost/relay/mime"
	"sealpost/tests/rigs/oddmail"
)

// verifier verifies messages by dkimpy without a network, and prints for each message the
// results of its signatures.
const verifier = `
import base64, dkim, json, sys
job = json.load(sys.stdin)
def verify(d, i):
    try:
        return str(d.verify(idx=i, dnsfunc=lambda name, timeout=5: records.get(name.decode() if isinstance(name, bytes) else name)))
    except dkim.ValidationError:
        return "False"
records = {name + ".": text.encode() for name, text in job["Records"].items()}
results = []
for message in job["Messages"]:
    d = dkim.DKIM(base64.b64decode(message))
    results.append([verify(d, i) for i in range(2)])
json.dump(results, sys.stdout)
`

// received returns a message as the LAN side and the recoding for the next hop leave it.
func received(t *testing.T, raw string) mime.Content {
	t.Helper()
	var b bytes.Buffer
	repairer := header.NewRepairer(&b, header.Repairs{Sender: "printer@contoso.com", Date: time.Unix(1795773600, 0), MessageID: "x@contoso.com"})
	normaliser := body.NewNormaliser(repairer, 1<<20)
	_, err := normaliser.Write([]byte(raw))
	for _, step := range []func() error{normaliser.Close, repairer.Close} {
		if err == nil {
			err = step()
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return mime.Recode(text(b.String()), true)
}

// TestSign_IsVerifiedByDkimpy verifies signatures of odd messages with another
// implementation, and that it rejects a changed message.
func TestSign_IsVerifiedByDkimpy(t *testing.T) {
	var job struct {
		Records  map[string]string
		Messages [][]byte
	}
	job.Records = records()
	var names, want []string
	s := newSigner(t)
	for name, raw := range oddmail.Messages() {
		signed, err := s.Sign(received(t, raw), domain)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		whole := read(t, signed)
		if err := verify(whole); err != nil && strings.Contains(whole, "\r\n\r\n") { // go-msgauth demands an empty line
			t.Errorf("%s: go-msgauth: %v", name, err)
		}
		for result, message := range map[string]string{"True": whole, "False": "Subject: added\r\n" + whole} {
			job.Messages = append(job.Messages, []byte(message))
			names, want = append(names, name), append(want, result)
		}
	}
	if len(oddmail.Messages()) < 50 {
		t.Errorf("got %d messages, want at least 50", len(oddmail.Messages()))
	}
	input, err := json.Marshal(job)
	if err != nil {
		t.Fatal(err)
	}
	var output, failures bytes.Buffer
	command := exec.CommandContext(t.Context(), "/usr/bin/python3", "-c", verifier) // Debian's, which has python3-dkim
	command.Stdin, command.Stdout, command.Stderr = bytes.NewReader(input), &output, &failures
	if err := command.Run(); err != nil {
		t.Fatalf("running dkimpy (make parts installs it): %v: %s", err, failures.String())
	}
	var results [][]string
	if err := json.Unmarshal(output.Bytes(), &results); err != nil || len(results) != len(names) {
		t.Fatalf("dkimpy returned %d results for %d messages: %v", len(results), len(names), err)
	}
	for i, got := range results {
		if fmt.Sprint(got) != fmt.Sprint([]string{want[i], want[i]}) {
			t.Errorf("%s: dkimpy returned %v, want %s for both signatures\n%q", names[i], got, want[i], job.Messages[i][:min(2000, len(job.Messages[i]))])
		}
	}
}
