package main

import (
	"errors"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"sealpost/cmd/sealpost/internal/appliance"
	"sealpost/cmd/sealpost/internal/wire"
	"sealpost/hal/linux/kernel"
	"sealpost/relay/control"
	"sealpost/relay/journal"
)

func relayCommand(o *options) *cobra.Command {
	var onAppliance bool
	c := leaf("relay", "Run the mail relay", 0, func(c *cobra.Command, _ []string) error {
		if onAppliance {
			// PID 1 creates the device after it has checked the storage.
			_ = kernel.AwaitDevice(o.State, appliance.DeviceTimeout)
		}
		b, err := o.Open(wire.AnyState)
		if err != nil {
			return err
		}
		ctx, stop := untilStopped(c.Context())
		defer stop()
		output := journal.NewAsync(c.ErrOrStderr(), func(w io.Writer) slog.Handler { return wire.LogHandler(b.Settings.Journal, w) })
		defer output.Close()
		log := journal.New(output)
		if b.Created {
			log.StateCreated(b.Settings.State.Path, b.Device.Size())
		}
		r := wire.Relay{Box: b, Journal: log,
			Appliance: onAppliance, Readable: []string{appliance.NetworkDir}}
		return errors.Join(r.Run(ctx, version), b.Close())
	})
	c.Flags().BoolVar(&onAppliance, "appliance", false, "run as the service of an appliance: confined to the state, the TPM and its ports, and holding mail until the clock is set")
	return c
}

func initCommand() *cobra.Command {
	c := leaf("init", "Be the first process of an appliance", 0, func(c *cobra.Command, _ []string) error {
		if os.Getpid() != 1 {
			return &usageError{errors.New("the kernel of an appliance runs this command; on any other machine use: sealpost relay")}
		}
		return appliance.Run(c.Context(), appliance.Build{Version: version, Made: built()})
	})
	c.Hidden = true
	return c
}

func journalCommand(o *options) *cobra.Command {
	query := control.Query{}
	c := leaf("journal", "Show what a running relay did", 0, func(c *cobra.Command, _ []string) error {
		s, err := o.Settings()
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
			return errors.Join(errors.New("the relay stopped, or the connection to its journal failed"), err)
		}
		return nil
	})
	c.Flags().BoolVar(&query.Follow, "follow", false, "keep printing new events")
	c.Flags().BoolVar(&query.Conversation, "conversation", false, "include every line of the SMTP dialogue with the upstream")
	return c
}
