package main

import (
	"github.com/spf13/cobra"

	"sealpost/cmd/sealpost/internal/licenses"
)

func licensesCommand() *cobra.Command {
	return leaf("licenses", "Print the licenses of what Sealpost is built from", 0, func(c *cobra.Command, _ []string) error {
		return licenses.Write(c.OutOrStdout())
	})
}
