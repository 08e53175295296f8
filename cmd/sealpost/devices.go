package main

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"sealpost/cmd/sealpost/internal/operator"
	"sealpost/provisioning/settings"
	"sealpost/relay/control"
)

func devicesCommand(o *options) *cobra.Command {
	c := leaf("devices", "The devices that have connected, and what is special about each", 0, func(c *cobra.Command, _ []string) error {
		return ask(o, c, o.devices)
	})
	c.AddCommand(learnCommand(o),
		&cobra.Command{Use: "adopt [ADDRESS]...", Short: "List devices in the settings, so that they may send; without an address those of learn mode", RunE: func(c *cobra.Command, which []string) error {
			return o.withRelay(c, func(ctx context.Context, r control.Relay) error {
				list, err := o.devices(ctx, r)
				if err != nil {
					return err
				}
				return o.edit(c, func(text []byte) ([]byte, string, error) { return list.Adopt(text, which) })
			})
		}},
		&cobra.Command{Use: "set ADDRESS KEY=VALUE...", Short: "Change what the settings say of a device or a network; one that they do not list may send from then on", Args: cobra.MinimumNArgs(1), RunE: func(c *cobra.Command, args []string) error {
			changes, err := operator.ParseChanges(args[1:])
			if err != nil {
				return &usageError{err}
			}
			return o.edit(c, func(text []byte) ([]byte, string, error) { return operator.SetDevice(text, args[0], changes) })
		}},
		leaf("remove ADDRESS", "Remove a device from the settings", 1, func(c *cobra.Command, args []string) error {
			return o.edit(c, func(text []byte) ([]byte, string, error) { return operator.RemoveDevice(text, args[0]) })
		}))
	return c
}

func (o *options) devices(ctx context.Context, r control.Relay) (operator.DeviceList, error) {
	list, err := operator.Devices(ctx, r)
	list.Command = "sealpost devices"
	return list, err
}

// edit changes the settings file. change says what it has done.
func (o *options) edit(c *cobra.Command, change func([]byte) ([]byte, string, error)) error {
	var done string
	err := o.EditSettings(func(text []byte) (edited []byte, err error) {
		edited, done, err = change(text)
		return edited, err
	})
	if err != nil {
		return err
	}
	fmt.Fprintln(c.OutOrStdout(), done+" (written to "+o.Config+"): restart the relay to apply it")
	return nil
}

func learnCommand(o *options) *cobra.Command {
	var (
		networks []string
		mode     control.LearnMode
		stop     bool
	)
	c := leaf("learn", "Let everything in a network send for a while, to find out what does", 0, func(c *cobra.Command, _ []string) error {
		for _, text := range networks {
			network, err := netip.ParsePrefix(text)
			if err != nil || settings.IsPublicNetwork(network) {
				return &usageError{fmt.Errorf("--network %s is not a network of a site, such as 192.168.10.0/24", text)}
			}
			mode.Networks = append(mode.Networks, network)
		}
		if stop {
			mode.For = 0
		}
		return ask(o, c, func(ctx context.Context, r control.Relay) (operator.DeviceList, error) {
			if _, err := r.Learn(ctx, mode); err != nil {
				return operator.DeviceList{}, err
			}
			return o.devices(ctx, r)
		})
	})
	c.Flags().DurationVar(&mode.For, "for", time.Hour, "how long, up to 2h")
	c.Flags().StringArrayVar(&networks, "network", nil, "a `network` to open; several are allowed; default: the machine's own")
	c.Flags().BoolVar(&stop, "stop", false, "end learn mode")
	return c
}
