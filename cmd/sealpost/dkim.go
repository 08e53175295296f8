package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"sealpost/cmd/sealpost/internal/operator"
	"sealpost/cmd/sealpost/internal/wire"
)

func dkimCommand(o *options) *cobra.Command {
	var replace, force bool
	command := func(use, short string, open wire.Opener, do func(context.Context, *wire.Box) (fmt.Stringer, error)) *cobra.Command {
		return leaf(use, short, 0, func(c *cobra.Command, _ []string) error {
			return o.withBox(c, open, func(ctx context.Context, b *wire.Box) error {
				result, err := do(ctx, b)
				if err != nil {
					return err
				}
				return o.print(c.OutOrStdout(), result)
			})
		})
	}
	rotate := command("rotate", "Make the next keys, and print the DNS records to publish", wire.ExistingState, func(ctx context.Context, b *wire.Box) (fmt.Stringer, error) {
		return operator.RotateDKIM(ctx, b, replace)
	})
	rotate.Flags().BoolVar(&replace, "replace", false, "replace next keys that were made before")
	retire := command("retire", "Delete the old keys, and print the DNS records to remove", wire.ExistingState, func(ctx context.Context, b *wire.Box) (fmt.Stringer, error) {
		return operator.RetireDKIM(ctx, b, force)
	})
	retire.Flags().BoolVar(&force, "force", false, "even if mail that they signed may be on its way")
	c := group("dkim", "The keys that sign mail by DKIM")
	c.AddCommand(rotate, retire,
		command("record", "Print the DNS records to publish, and make keys if there are none", wire.AnyState, operator.DKIMRecordsOf),
		command("activate", "Look the records up, and sign with their keys if all are published", wire.ExistingState, operator.ActivateDKIM),
		command("show", "Show the keys, and what to do next", wire.ExistingState, operator.ShowDKIM))
	return c
}
