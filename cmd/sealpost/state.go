package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"sealpost/provisioning/state"
)

func stateCommand(o *options) *cobra.Command {
	c := group("state", "The state file or device")
	c.AddCommand(eraseCommand(o))
	return c
}

// erased is what is printed when the settings area is empty again.
type erased struct {
	State string `json:"state"`
}

func (e erased) String() string {
	return e.State + ": erased; import the client certificate again"
}

func eraseCommand(o *options) *cobra.Command {
	var sure bool
	c := leaf("erase --yes", "Erase the client certificate, its key, all kept mail, and everything else that was stored", 0, func(c *cobra.Command, _ []string) error {
		if !sure {
			return &usageError{errors.New("this erases the client certificate, its key and all kept mail for good: say --yes if you mean it")}
		}
		return o.withBox(c, existingState, func(ctx context.Context, b *box) error {
			if err := errors.Join(b.store.Erase(ctx), b.blankSpool(ctx)); err != nil {
				return err
			}
			return o.print(c.OutOrStdout(), erased{b.settings.State.Path})
		})
	})
	c.Flags().BoolVar(&sure, "yes", false, "yes, erase it")
	return c
}

// cure adds the command that helps to an error whose words can only name the
// cure.
func cure(err error) error {
	if errors.Is(err, state.ErrDamaged) || errors.Is(err, state.ErrNewer) {
		return fmt.Errorf("%w (to erase them: sealpost state erase --yes)", err)
	}
	return err
}
