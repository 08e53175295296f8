package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"sealpost/cmd/sealpost/internal/wire"
	"sealpost/provisioning/settings"
)

// verdict is the outcome of a check of settings.
type verdict struct {
	File   string          `json:"file"`
	Errors settings.Errors `json:"errors"`
}

func (v verdict) String() string { return v.File + ": the settings are in order" }

func configCommand(o *options) *cobra.Command {
	config := group("config", "The settings file")
	config.AddCommand(leaf("check FILE", "Check a settings file without using it", 1, func(c *cobra.Command, args []string) error {
		text, err := wire.ReadFile(args[0], settings.MaxText)
		if err != nil {
			return err
		}
		_, err = settings.Parse(text)
		faults := settings.Errors(nil)
		if err != nil && !errors.As(err, &faults) {
			return err
		}
		if err == nil || o.json {
			err = errors.Join(o.print(c.OutOrStdout(), verdict{args[0], faults}), err)
		}
		if len(faults) > 0 {
			return fmt.Errorf("%s cannot be used:\n%w", args[0], faults)
		}
		return err
	}))
	return config
}
