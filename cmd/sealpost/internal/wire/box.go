// Package wire makes parts of settings: it opens the state and the TPM, and
// builds from what the settings say everything that the relay, the commands and
// the diagnosis work with.
//
// It is the one place where relay and provisioning meet. It must not print,
// serve or decide what is done with a part.
package wire

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"sealpost/hal"
	"sealpost/hal/fault"
	"sealpost/hal/linux/flash"
	"sealpost/hal/linux/tpm"
	"sealpost/provisioning/candidate"
	"sealpost/provisioning/credential"
	"sealpost/provisioning/identity"
	"sealpost/provisioning/keyring"
	"sealpost/provisioning/settings"
	"sealpost/provisioning/state"
)

// LockTimeout is how long another sealpost command is waited for.
const LockTimeout = 2 * time.Second

// Box is the parts that the settings name, opened. It must be closed.
type Box struct {
	Settings settings.Settings
	Device   *flash.Device
	Store    *state.Store
	TPM      *tpm.TPM
	Created  bool // the state did not exist before
}

// Opener opens the state.
type Opener func(settings.Settings) (*flash.Device, error)

// Open opens the state and gets ready to reach the TPM.
func (o Options) Open(open Opener) (*Box, error) {
	s, err := o.Settings()
	if err != nil {
		return nil, err
	}
	_, missing := os.Lstat(s.State.Path)
	device, err := open(s)
	if err != nil {
		return nil, err
	}
	store, err := StoreIn(device)
	if err != nil {
		return nil, errors.Join(err, device.Close())
	}
	b, err := assemble(s, device, store)
	if err != nil {
		return nil, err
	}
	b.Created = errors.Is(missing, fs.ErrNotExist)
	return b, nil
}

// assemble takes the device over, also with an error.
func assemble(s settings.Settings, device *flash.Device, store *state.Store) (*Box, error) {
	chip, err := tpm.New(string(s.Keys.TPM))
	if err != nil {
		return nil, errors.Join(err, device.Close())
	}
	return &Box{Settings: s, Device: device, Store: store, TPM: chip}, nil
}

// Close closes the TPM and the state.
func (b *Box) Close() error { return errors.Join(b.TPM.Close(), b.Device.Close()) }

// StoreIn is the settings area at the front of a state.
func StoreIn(device *flash.Device) (*state.Store, error) {
	area, err := device.Region(0, state.AreaSize)
	if err != nil {
		return nil, fmt.Errorf("the state is too small for the settings: %w", err)
	}
	return state.Open(area), nil
}

// Ring is the part of a state behind the settings area.
func Ring(device *flash.Device) (*flash.Region, error) {
	return device.Region(state.AreaSize, device.Size()-state.AreaSize)
}

// ErrNoState is wrapped by the error of a state that is not there.
var ErrNoState = fault.New(fault.NoState, "there is no state yet")

// ExistingState opens a state that is there already.
func ExistingState(s settings.Settings) (*flash.Device, error) {
	if s.State.Path == "" {
		return nil, errors.New("name the state with --state")
	}
	device, err := flash.Open(s.State.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNoState.With("path", s.State.Path).Wrap(err)
	}
	return device, err
}

// AnyState opens the state, and makes it first where there is none yet.
func AnyState(s settings.Settings) (*flash.Device, error) {
	device, err := ExistingState(s)
	if !errors.Is(err, fs.ErrNotExist) {
		return device, err
	}
	if path, err := DefaultState(); err == nil && path == s.State.Path {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return nil, fmt.Errorf("creating the folder for the state: %w", err)
		}
	}
	if err := flash.Create(s.State.Path, state.AreaSize+int64(s.Spool.Size)); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("making the state file: %w", err)
	}
	return ExistingState(s)
}

// Hostname is the box's name, on the LAN and upstream.
func (b *Box) Hostname() (string, error) {
	if b.Settings.LAN.Hostname != "" {
		return string(b.Settings.LAN.Hostname), nil
	}
	name, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("finding this machine's name: %w: set lan.hostname", err)
	}
	return name, nil
}

// Protector protects keys as the settings ask for.
func (b *Box) Protector() identity.Protector {
	if b.Settings.Keys.Protection == settings.ProtectionFile {
		return func(_ context.Context, key crypto.Signer, binding []byte) (keyring.Key, error) {
			return keyring.ProtectInFile(key, binding)
		}
	}
	return func(ctx context.Context, key crypto.Signer, binding []byte) (keyring.Key, error) {
		return keyring.Protect(ctx, b.TPM, key, binding)
	}
}

// Sealer protects secrets as the settings ask for.
func (b *Box) Sealer() keyring.Sealer {
	sealer := keyring.Sealer{
		Seal: func(ctx context.Context, name string, secret []byte) (keyring.Secret, error) {
			return keyring.SealSecret(ctx, b.TPM, name, secret)
		},
		Open: func(ctx context.Context, name string, stored keyring.Secret) ([]byte, error) {
			return keyring.OpenSecret(ctx, b.TPM, name, stored)
		},
	}
	if b.Settings.Keys.Protection == settings.ProtectionFile {
		sealer.Seal = func(_ context.Context, name string, secret []byte) (keyring.Secret, error) {
			return keyring.SecretInFile(name, secret), nil
		}
	}
	return sealer
}

// Generator makes keys as the settings ask for. RSA is what token issuers take.
func (b *Box) Generator() identity.Generator {
	const bits = 2048
	if b.Settings.Keys.Protection == settings.ProtectionFile {
		return func(context.Context) (keyring.Key, error) {
			key, err := rsa.GenerateKey(rand.Reader, bits)
			if err != nil {
				return keyring.Key{}, err
			}
			return keyring.ProtectInFile(key, nil)
		}
	}
	return func(ctx context.Context) (keyring.Key, error) { return keyring.Generate(ctx, b.TPM, hal.RSA2048) }
}

// Vault keeps the credentials of the application that the settings name.
func (b *Box) Vault() credential.Vault {
	return credential.Vault{Store: b.Store, Sealer: b.Sealer(), Application: credential.Of(b.Settings)}
}

// Checker checks and commits a candidate in the state, under the TPM, that the
// options name, or else the settings that are wanted or stay in force. The
// caller calls done.
func (o Options) Checker(ctx context.Context, wanted candidate.Candidate) (k candidate.Checker, done func() error, err error) {
	// What cannot be read is for the check to say.
	s, err := settings.Parse([]byte(wanted.Settings))
	if err != nil {
		s = settings.Default()
	}
	o.override(&s)
	device, err := ExistingState(s)
	if err != nil {
		return k, nil, err
	}
	store, err := StoreIn(device)
	if err != nil {
		return k, nil, errors.Join(err, device.Close())
	}
	if wanted.Settings == "" {
		s = o.inForce(ctx, store, s)
	}
	b, err := assemble(s, device, store)
	if err != nil {
		return k, nil, err
	}
	return candidate.Checker{Store: b.Store, TPM: b.TPM, Protect: b.Protector(), Sealer: b.Sealer(), CheckPath: CheckPath}, b.Close, nil
}

// inForce returns the settings in the store, as far as this version can read them,
// or others where there are none.
func (o Options) inForce(ctx context.Context, store *state.Store, others settings.Settings) settings.Settings {
	stored, err := candidate.LoadSettings(ctx, store)
	if err != nil && fault.CodeOf(err) != fault.SettingsInvalid {
		return others
	}
	o.override(&stored.Settings)
	return stored.Settings
}
