package main

import (
	"errors"
	"io"

	"github.com/spf13/cobra"

	"sealpost/relay/control"
)

func journalCommand(o *options) *cobra.Command {
	query := control.Query{}
	journal := leaf("journal", "Show what a running relay did", 0, func(c *cobra.Command, _ []string) error {
		s, err := readSettings(o)
		if err != nil {
			return err
		}
		query.JSON = o.json
		ctx, stop := untilStopped(c.Context())
		defer stop()
		stream, err := control.ReadJournal(ctx, s.ControlSocket(), query)
		if err != nil {
			return err
		}
		defer stream.Close()
		if _, err := io.Copy(c.OutOrStdout(), stream); err != nil && ctx.Err() == nil {
			return errors.Join(errors.New("the relay stopped, or its journal broke off"), err)
		}
		return nil
	})
	journal.Flags().BoolVar(&query.Follow, "follow", false, "go on with what happens from now on")
	journal.Flags().BoolVar(&query.Conversation, "conversation", false, "with every line of the SMTP dialogue with the upstream")
	return journal
}
