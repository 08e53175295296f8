package main

import (
	_ "embed"
	"io"

	"github.com/spf13/cobra"
)

// licenses are the licenses of everything that is linked into the program; "make
// licenses" writes the file.
//
//go:embed licenses.txt
var licenses string

func licensesCommand() *cobra.Command {
	return leaf("licenses", "Print the licenses of what Sealpost is built from", 0, func(c *cobra.Command, _ []string) error {
		_, err := io.WriteString(c.OutOrStdout(), licenses)
		return err
	})
}
