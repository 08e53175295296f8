package operator

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"sealpost/hal/fault"
	"sealpost/provisioning/candidate"
	"sealpost/provisioning/certificate"
	"sealpost/provisioning/settings"
)

// MaxCandidate is the largest candidate in JSON, where binary parts are a third
// larger.
const MaxCandidate = 4*certificate.MaxInput + 2*settings.MaxText

// Outcome is the result of a check or commit.
type Outcome struct {
	Faults []*fault.Fault `json:"faults,omitempty"`
}

// apply checks or commits a candidate in a child process, whose exit frees the
// key's memory.
func (l Local) apply(ctx context.Context, c candidate.Candidate, flags ...string) error {
	text, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("writing the candidate: %w", err)
	}
	defer clear(text)
	var outcome Outcome
	err = run(ctx, childTimeout, append(l.command("apply"), flags...), bytes.NewReader(text), func(decode func(any) error) bool {
		return decode(&outcome) == nil
	})
	if len(outcome.Faults) > 0 {
		return fault.Join(outcome.Faults)
	}
	return err
}
