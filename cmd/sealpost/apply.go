package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"sealpost/cmd/sealpost/internal/operator"
	"sealpost/hal/fault"
	"sealpost/provisioning/candidate"
)

// outcome prints the result of a check or commit.
type outcome struct{ operator.Outcome }

func (o outcome) String() string {
	if len(o.Faults) > 0 {
		return cures.Text(fault.Join(o.Faults))
	}
	return "in order"
}

// applyCommand runs in a separate process, so that a private key that was passed
// in the clear is freed with the process's memory.
func applyCommand(o *options) *cobra.Command {
	var check bool
	c := leaf("apply", "Commit a candidate configuration, JSON on standard input", 0, func(c *cobra.Command, _ []string) error {
		var config candidate.Candidate
		decoder := json.NewDecoder(io.LimitReader(c.InOrStdin(), operator.MaxCandidate))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&config); err != nil {
			return fmt.Errorf("reading the candidate: %w", err)
		}
		ctx, cancel := context.WithTimeout(c.Context(), tpmTimeout)
		defer cancel()
		do := candidate.Checker.Commit
		if check {
			do = candidate.Checker.Check
		}
		checker, done, err := o.Checker(ctx, config)
		if err == nil {
			err = errors.Join(do(checker, ctx, config), done())
		}
		if printed := o.print(c.OutOrStdout(), outcome{operator.Outcome{Faults: fault.List(err)}}); printed != nil {
			return printed
		}
		if err != nil {
			return errors.New("nothing was changed")
		}
		return nil
	})
	c.Flags().BoolVar(&check, "check", false, "print its faults, and change nothing")
	c.Hidden = true
	return c
}
