package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"sealpost/hal"
)

// chip is what a person wants to know of the TPM.
type chip struct {
	Address      string        `json:"address"`
	State        hal.TPMState  `json:"state"`
	Advice       string        `json:"advice,omitempty"`
	Manufacturer string        `json:"manufacturer,omitempty"`
	Firmware     string        `json:"firmware,omitempty"`
	Keys         []hal.KeyType `json:"keys,omitempty"`
}

func (c chip) String() string {
	if c.State != hal.TPMReady {
		return strings.TrimSuffix(fmt.Sprintf("TPM at %s: %s: %s", c.Address, c.State, c.Advice), ": ")
	}
	var keys []string
	for _, key := range c.Keys {
		keys = append(keys, string(key))
	}
	return fmt.Sprintf("TPM at %s: %s\nmade by  %s, firmware %s\nholds    %s",
		c.Address, c.State, c.Manufacturer, c.Firmware, strings.Join(keys, ", "))
}

func tpmCommand(o *options) *cobra.Command {
	return leaf("tpm", "Say how the TPM is, and which keys it can hold", 0, func(c *cobra.Command, _ []string) error {
		s, err := readSettings(o)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(c.Context(), tpmPatience)
		defer cancel()
		found, err := probe(ctx, string(s.Keys.TPM))
		if err != nil {
			return err
		}
		return o.print(c.OutOrStdout(), found)
	})
}
