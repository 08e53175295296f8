package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"sealpost/cmd/sealpost/internal/wire"
	"sealpost/provisioning/settings"
)

// checkResult is what config check prints.
type checkResult struct {
	File   string          `json:"file"`
	Errors settings.Errors `json:"errors"`
}

func (r checkResult) String() string { return r.File + ": the settings are valid" }

func configCommand(o *options) *cobra.Command {
	config := group("config", "The settings file")
	config.AddCommand(leaf("check FILE", "Check a settings file without using it", 1, func(c *cobra.Command, args []string) error {
		text, err := wire.ReadFile(args[0], settings.MaxText)
		if err != nil {
			return err
		}
		_, err = settings.Parse(text)
		faults := settings.Errors{}
		if err != nil && !errors.As(err, &faults) {
			return err
		}
		if err == nil || o.json {
			if err := o.print(c.OutOrStdout(), checkResult{args[0], faults}); err != nil {
				return err
			}
		}
		switch {
		case len(faults) == 0:
			return nil
		case o.json:
			return fmt.Errorf("%s cannot be used", args[0])
		}
		return fmt.Errorf("%s cannot be used:\n%w", args[0], faults)
	}))
	return config
}
