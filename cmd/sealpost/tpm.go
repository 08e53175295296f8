package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"sealpost/cmd/sealpost/internal/diagnose"
	"sealpost/hal"
)

func tpmCommand(o *options) *cobra.Command {
	return leaf("tpm", "Show the state of the TPM, and which keys it can hold", 0, func(c *cobra.Command, _ []string) error {
		address := o.TPM
		if address == "" {
			s, err := o.Settings()
			if err != nil {
				return err
			}
			address = string(s.Keys.TPM)
		}
		ctx, cancel := context.WithTimeout(c.Context(), tpmTimeout)
		defer cancel()
		found, err := diagnose.TPM(ctx, address)
		if err != nil {
			return err
		}
		if err := o.print(c.OutOrStdout(), found); err != nil {
			return err
		}
		if found.State != hal.TPMReady {
			return fmt.Errorf("the TPM at %s cannot be used", address)
		}
		return nil
	})
}
