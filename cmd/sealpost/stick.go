package main

import (
	"github.com/spf13/cobra"

	"sealpost/cmd/sealpost/internal/appliance"
)

func stickCommand(o *options) *cobra.Command {
	var disk, serial string
	c := leaf("stick --disk NAME --serial NUMBER", "Apply the files for this box on a USB stick", 0, func(c *cobra.Command, _ []string) error {
		return appliance.ApplyStick(c.Context(), o.Options, disk, serial, c.OutOrStdout())
	})
	c.Flags().StringVar(&disk, "disk", "", "the stick's `disk`, such as sda")
	c.Flags().StringVar(&serial, "serial", "", "the box's serial `number`")
	c.Hidden = true
	return c
}
