package diagnose

import (
	"errors"
	"strings"
	"testing"

	"sealpost/provisioning/operator"
	"sealpost/relay/journal"

	"go.uber.org/goleak"
)

// followTest returns the steps of the message with the EHLO name "test".
func followTest(t *testing.T, journal ...string) (steps []string, err error) {
	t.Helper()
	err = follow(strings.NewReader(strings.Join(journal, "\n")), "test", make(chan error), func(s operator.Step) error {
		steps = append(steps, s.Name)
		return nil
	})
	return steps, err
}

func TestFollow_GivesTheStepsOfOneMessageUpToItsEnd(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	const before, received, others = `{"event":"delivered","id":"A"}`, `{"event":"received","id":"B","hello":"test"}`, `{"event":"refused","id":"C"}`
	for end, want := range map[string]error{"delivered": nil, "queued": nil, "refused": errNotAccepted, "deferred": errNotAccepted} {
		last := `{"event":"` + end + `","id":"B"}`
		steps, err := followTest(t, before, received, others, `{"event":"signature"}`, "no JSON", last, others, others)
		if !errors.Is(err, want) || len(steps) != 3 || steps[0] != "received" || steps[1] != "signed" {
			t.Errorf("%s: got steps %q, error %v, want received, signed, the end, and %v", end, steps, err, want)
		}
	}
	if steps, err := followTest(t, before, received); err == nil || !strings.Contains(err.Error(), "see the queue") {
		t.Errorf("a journal that ends early: got steps %q, error %v, want an error that names the queue", steps, err)
	}
}

func TestStepOf_DescribesEachEvent(t *testing.T) {
	for want, r := range map[string]journal.Record{
		"received: 510 octets":                     {Event: journal.EventReceived, ID: "A", Octets: 510},
		"signed: the TPM signed in 648 ms":         {Event: journal.EventSignature, Key: "tpm-resident", Took: "648.2ms"},
		"signed: the key in memory signed in 3 ms": {Event: journal.EventSignature, Key: "file", Took: "3.1ms"},
	} {
		if s, _ := StepOf(r); s.Name+": "+s.Text != want {
			t.Errorf("got %q, want %q", s.Name+": "+s.Text, want)
		}
	}
}
