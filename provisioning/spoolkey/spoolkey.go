// Package spoolkey stores the encryption key of the spool, which is generated at
// the first start and sealed in the settings area.
//
// It knows the settings area and how a secret is sealed. It must not know the
// spool, mail, or how a TPM is reached.
package spoolkey

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"

	"sealpost/hal"
	"sealpost/hal/fault"
	"sealpost/provisioning/keyring"
	"sealpost/provisioning/state"
)

// section of the settings area, and the secret's name.
const section = "spool"

// ErrReplaced is returned if the key was sealed by another TPM.
var ErrReplaced = fault.New(fault.SpoolOtherTPM, "the spool was written under another TPM, so its mail cannot be read on this box: put the storage back into the box it came from")

// Store is the settings area.
type Store interface {
	Load(ctx context.Context) (state.Sections, error)
	Update(ctx context.Context, change func(state.Sections) error) error
}

// Open returns the spool's key of size bytes, and generates one if there is none;
// the caller wipes it. It uses the TPM once.
func Open(ctx context.Context, store Store, sealer keyring.Sealer, size int) ([]byte, error) {
	sections, err := store.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the settings area: %w", err)
	}
	stored, found := sections[section]
	if !found {
		return Renew(ctx, store, sealer, size)
	}
	var sealed keyring.Secret
	if err := json.Unmarshal(stored, &sealed); err != nil {
		return nil, fmt.Errorf("reading the spool's key: %w", err)
	}
	key, err := sealer.Open(ctx, section, sealed)
	if fault := (*hal.TPMFault)(nil); errors.As(err, &fault) && fault.State == hal.TPMReplaced {
		return nil, fmt.Errorf("%w (%w)", ErrReplaced, err)
	}
	if err != nil {
		return nil, hal.Tried("opening the spool's key", err)
	}
	return key, nil
}

// Sealed reports whether there is a key and a TPM seals it.
func Sealed(ctx context.Context, store Store) (bool, error) {
	sections, err := store.Load(ctx)
	if err != nil {
		return false, fmt.Errorf("reading the settings area: %w", err)
	}
	var stored keyring.Secret
	if content, found := sections[section]; found {
		if err := json.Unmarshal(content, &stored); err != nil {
			return false, fmt.Errorf("reading the spool's key: %w", err)
		}
	}
	return stored.Protection == keyring.TPMSealed, nil
}

// Renew generates a new key that replaces the old one, whose spool can no longer
// be read. The caller wipes it.
func Renew(ctx context.Context, store Store, sealer keyring.Sealer, size int) ([]byte, error) {
	key := make([]byte, size)
	_, _ = rand.Read(key)
	sealed, err := sealer.Seal(ctx, section, key)
	if err != nil {
		return nil, hal.Tried("creating the spool's key", err)
	}
	encoded, err := json.Marshal(sealed)
	if err != nil {
		return nil, fmt.Errorf("encoding the spool's key: %w", err)
	}
	err = store.Update(ctx, func(sections state.Sections) error {
		sections[section] = encoded
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("storing the spool's key: %w", err)
	}
	return key, nil
}
