package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"sealpost/hal/linux/tpm"
	"sealpost/provisioning/candidate"
	"sealpost/provisioning/certificate"
	"sealpost/provisioning/settings"
	"sealpost/provisioning/state"
)

// largestCandidate bounds a candidate as JSON, in which binary parts grow by a
// third.
const largestCandidate = 2*certificate.MaxInput + 2*settings.MaxText

// applied is what became of a candidate.
type applied struct {
	Faults []string `json:"faults,omitempty"`
}

func (a applied) String() string {
	if len(a.Faults) > 0 {
		return strings.Join(a.Faults, "\n")
	}
	return "in order"
}

// applyCommand is a process of its own, so that a private key which was handed
// over in the clear goes with the process's memory.
func applyCommand(o *options) *cobra.Command {
	var check bool
	c := leaf("apply", "Commit a candidate configuration, JSON on standard input", 0, func(c *cobra.Command, _ []string) error {
		var wanted candidate.Candidate
		decoder := json.NewDecoder(io.LimitReader(c.InOrStdin(), largestCandidate))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&wanted); err != nil {
			return fmt.Errorf("reading the candidate: %w", err)
		}
		ctx, cancel := context.WithTimeout(c.Context(), tpmPatience)
		defer cancel()
		do := candidate.Checker.Commit
		if check {
			do = candidate.Checker.Check
		}
		err := o.apply(ctx, wanted, do)
		if printed := o.print(c.OutOrStdout(), applied{faultsOf(err)}); printed != nil {
			return printed
		}
		if err != nil {
			return errors.New("nothing was changed")
		}
		return nil
	})
	c.Flags().BoolVar(&check, "check", false, "say what stands against it, and change nothing")
	c.Hidden = true
	return c
}

func (o *options) apply(ctx context.Context, wanted candidate.Candidate, do func(candidate.Checker, context.Context, candidate.Candidate) error) error {
	checker, done, err := o.checker(ctx, wanted)
	if err != nil {
		return err
	}
	return errors.Join(do(checker, ctx, wanted), done())
}

// checker judges and commits in the state, under the TPM, that the command
// line names, or else the settings that are wanted or stay in force.
func (o *options) checker(ctx context.Context, wanted candidate.Candidate) (k candidate.Checker, done func() error, err error) {
	// What cannot be read is for the check to say.
	s, err := settings.Parse([]byte(wanted.Settings))
	if err != nil {
		s = settings.Default()
	}
	o.override(&s)
	device, err := existingState(s)
	if err != nil {
		return k, nil, err
	}
	store, err := storeIn(device)
	if err != nil {
		return k, nil, errors.Join(err, device.Close())
	}
	if wanted.Settings == "" {
		s = o.inForce(ctx, store, s)
	}
	chip, err := tpm.New(string(s.Keys.TPM))
	if err != nil {
		return k, nil, errors.Join(err, device.Close())
	}
	b := &box{s, device, store, chip}
	return candidate.Checker{Store: store, TPM: chip, Protect: b.protector(), Sealer: b.sealer(), Judge: usable}, b.close, nil
}

// inForce gives the settings in the store, as far as this version can read them,
// or others where there are none.
func (o *options) inForce(ctx context.Context, store *state.Store, others settings.Settings) settings.Settings {
	stored, err := candidate.LoadSettings(ctx, store)
	var unusable *settings.StoredError
	if err != nil && !errors.As(err, &unusable) {
		return others
	}
	o.override(&stored.Settings)
	return stored.Settings
}

// faultsOf gives each fault of a joined error, as a person is to read them.
func faultsOf(err error) []string {
	if err == nil {
		return nil
	}
	var words []string
	for line := range strings.Lines(err.Error()) {
		words = append(words, strings.TrimSpace(line))
	}
	return words
}
