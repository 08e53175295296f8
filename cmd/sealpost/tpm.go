package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"sealpost/hal"
	"sealpost/hal/linux/tpm"
)

// chip is what the tpm command prints.
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
	return fmt.Sprintf("TPM at %s: %s\nvendor   %s, firmware %s\nkeys     %s",
		c.Address, c.State, c.Manufacturer, c.Firmware, strings.Join(keys, ", "))
}

func tpmCommand(o *options) *cobra.Command {
	return leaf("tpm", "Say how the TPM is, and which keys it can hold", 0, func(c *cobra.Command, _ []string) error {
		s, err := o.Settings()
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(c.Context(), tpmTimeout)
		defer cancel()
		found, err := lookAtTPM(ctx, string(s.Keys.TPM))
		if err != nil {
			return err
		}
		return o.print(c.OutOrStdout(), found)
	})
}

// lookAtTPM returns the state and the supported keys of the TPM at address.
func lookAtTPM(ctx context.Context, address string) (found chip, err error) {
	t, err := tpm.New(address)
	if err != nil {
		return chip{}, err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	found = chip{Address: address, State: t.State(ctx)}
	found.Advice = found.State.Advice()
	if found.State != hal.TPMReady {
		return found, nil
	}
	can, err := t.Capabilities(ctx)
	found.Manufacturer, found.Firmware, found.Keys = can.Manufacturer, can.Firmware, can.Keys
	return found, err
}
