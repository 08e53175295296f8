package main

import (
	"errors"
	"io"

	"github.com/spf13/cobra"

	"sealpost/cmd/sealpost/internal/operator"
	"sealpost/cmd/sealpost/internal/terminal"
	"sealpost/provisioning/console"
)

// standardStreams selects standard input and output instead of a serial line.
const standardStreams = "-"

func consoleCommand(o *options) *cobra.Command {
	var line string
	c := leaf("console --line DEVICE", "Talk with a technician on a serial line", 0, func(c *cobra.Command, _ []string) error {
		if o.State == "" {
			return &usageError{errors.New("name the state with --state")}
		}
		ctx, stop := untilStopped(c.Context())
		defer stop()
		dialogue := console.New(operator.Local{Options: o.Options, By: "the console"})
		if line == standardStreams {
			err := dialogue.Run(ctx, streams{c.InOrStdin(), c.OutOrStdout()})
			if errors.Is(err, console.ErrGone) {
				return nil // the end of the input
			}
			return err
		}
		return terminal.Serve(ctx, dialogue, line)
	})
	c.Flags().StringVar(&line, "line", "", "the serial `device`; - for standard input and output")
	_ = c.MarkFlagRequired("line")
	c.Hidden = true
	return c
}

type streams struct {
	io.Reader
	io.Writer
}
