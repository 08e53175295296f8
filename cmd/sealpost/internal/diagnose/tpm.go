package diagnose

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"sealpost/hal"
	"sealpost/hal/linux/tpm"
)

// Chip describes a TPM.
type Chip struct {
	Address      string        `json:"address"`
	State        hal.TPMState  `json:"state"`
	Advice       string        `json:"advice,omitempty"`
	Manufacturer string        `json:"manufacturer,omitempty"`
	Firmware     string        `json:"firmware,omitempty"`
	Keys         []hal.KeyType `json:"keys,omitempty"`
}

func (c Chip) String() string {
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

// TPM returns the state and the supported keys of the TPM at address.
func TPM(ctx context.Context, address string) (found Chip, err error) {
	t, err := tpm.New(address)
	if err != nil {
		return Chip{}, err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	found = Chip{Address: address, State: t.State(ctx)}
	found.Advice = found.State.Advice()
	if found.State != hal.TPMReady {
		return found, nil
	}
	capabilities, err := t.Capabilities(ctx)
	found.Manufacturer, found.Firmware, found.Keys = capabilities.Manufacturer, capabilities.Firmware, capabilities.Keys
	return found, err
}
