package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"sealpost/cmd/sealpost/internal/operator"
	"sealpost/cmd/sealpost/internal/wire"
	"sealpost/relay/control"
)

func spoolCommand(o *options) *cobra.Command {
	c := group("spool", "The spool on flash that holds the queued mail")
	c.AddCommand(
		leaf("stat", "Show how full it is", 0, func(c *cobra.Command, _ []string) error {
			return ask(o, c, func(ctx context.Context, r control.Relay) (operator.SpoolStat, error) {
				s, err := r.SpoolStat(ctx)
				return operator.SpoolStat{Stat: s}, err
			})
		}),
		leaf("verify", "Read every message completely and check it", 0, func(c *cobra.Command, _ []string) error {
			return ask(o, c, func(ctx context.Context, r control.Relay) (operator.SpoolVerification, error) {
				v, err := r.SpoolVerify(ctx)
				return operator.SpoolVerification{Verification: v}, err
			})
		}),
		leaf("dump", "Print the ring record by record without message contents; while a relay runs, the end may be incomplete", 0,
			func(c *cobra.Command, _ []string) error {
				return o.withBox(c, wire.ExistingState, func(ctx context.Context, b *wire.Box) error { return b.DumpSpool(ctx, c.OutOrStdout()) })
			}),
		sure(o, "format --yes", "Discard all queued mail and create an empty spool with a new key",
			"this permanently deletes all queued mail: add --yes to confirm", "confirm the deletion",
			func(ctx context.Context, b *wire.Box) (fmt.Stringer, error) {
				return formatted{b.Settings.State.Path}, b.FormatSpool(ctx)
			}))
	return c
}

func stateCommand(o *options) *cobra.Command {
	c := group("state", "The state file or device")
	c.AddCommand(sure(o, "erase --yes", "Erase the client certificate, its key, all queued mail and everything else in the state",
		"this permanently erases the client certificate, its key and all queued mail: add --yes to confirm", "confirm the erasure",
		func(ctx context.Context, b *wire.Box) (fmt.Stringer, error) {
			return erased{b.Settings.State.Path}, b.Erase(ctx)
		}))
	return c
}

// sure makes a command that cannot be undone and requires --yes.
func sure(o *options, use, short, warning, yes string, do func(context.Context, *wire.Box) (fmt.Stringer, error)) *cobra.Command {
	var confirmed bool
	c := leaf(use, short, 0, func(c *cobra.Command, _ []string) error {
		if !confirmed {
			return &usageError{errors.New(warning)}
		}
		return o.withBox(c, wire.ExistingState, func(ctx context.Context, b *wire.Box) error {
			outcome, err := do(ctx, b)
			if err != nil {
				return err
			}
			return o.print(c.OutOrStdout(), outcome)
		})
	})
	c.Flags().BoolVar(&confirmed, "yes", false, yes)
	return c
}

// formatted is printed after the ring was formatted.
type formatted struct {
	State string `json:"state"`
}

func (f formatted) String() string { return f.State + ": the spool is empty and has a new key" }

// erased is printed after the settings area was erased.
type erased struct {
	State string `json:"state"`
}

func (e erased) String() string {
	return e.State + ": erased; import the client certificate again"
}
