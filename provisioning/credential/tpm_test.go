//go:build !quick

package credential

import (
	"errors"
	"strings"
	"testing"

	"sealpost/hal"
	"sealpost/hal/linux/tpm"
	"sealpost/provisioning/keyring"
	"sealpost/tests/rigs/parts"
)

func TestVault_RefusesACredentialOfAnotherTPM(t *testing.T) {
	newSealer := func() keyring.Sealer {
		chip, err := tpm.New(parts.StartSwtpm(t).Address())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = chip.Close() })
		return keyring.TPMSealer(chip)
	}
	v := vaultOn(newFlash())
	v.Sealer = newSealer()
	const secret = "a refresh token, longer than the data that a TPM can seal: " +
		"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
	save(t, v, RefreshToken, secret)
	if stored(t, v, RefreshToken) != secret {
		t.Error("the TPM that sealed the secret opened another one")
	}
	sections, err := v.Store.Load(t.Context())
	if err != nil || strings.Contains(string(sections[string(RefreshToken)]), "refresh token, longer") {
		t.Errorf("the secret is stored in clear, or loading failed: %v", err)
	}
	v.Sealer = newSealer()
	_, err = v.Load(t.Context(), RefreshToken)
	if fault := (*hal.TPMFault)(nil); !errors.As(err, &fault) || fault.State != hal.TPMReplaced {
		t.Errorf("another TPM: got %v, want state %s", err, hal.TPMReplaced)
	}
}
