package main

import (
	"cmp"
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"sealpost/hal"
	"sealpost/hal/linux/flash"
	"sealpost/hal/linux/tpm"
	"sealpost/provisioning/candidate"
	"sealpost/provisioning/identity"
	"sealpost/provisioning/keyring"
	"sealpost/provisioning/settings"
	"sealpost/provisioning/state"
)

// box is the parts that the settings name, opened.
type box struct {
	settings settings.Settings
	device   *flash.Device
	store    *state.Store
	tpm      *tpm.TPM
}

// readSettings reads and checks the settings, and puts in what the command line
// says.
func readSettings(o *options) (settings.Settings, error) {
	read := settingsFile
	if o.config == "" {
		read = storedSettings
	}
	s, err := read(o)
	if err != nil {
		return settings.Settings{}, err
	}
	o.override(&s)
	return s, nil
}

// override puts in what the command line says.
func (o *options) override(s *settings.Settings) {
	s.State.Path = cmp.Or(o.state, s.State.Path)
	s.Keys.TPM = cmp.Or(settings.TPMAddress(o.tpm), s.Keys.TPM)
	s.Control.Socket = cmp.Or(o.control, s.Control.Socket)
}

// storedSettings reads the settings from the state, as the appliance keeps them.
func storedSettings(o *options) (s settings.Settings, err error) {
	device, err := existingState(settings.Settings{State: settings.State{Path: o.state}})
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, device.Close()) }()
	store, err := storeIn(device)
	if err != nil {
		return s, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), lockPatience)
	defer cancel()
	stored, err := candidate.LoadSettings(ctx, store)
	return stored.Settings, err
}

// storeIn is the settings area at the front of a state.
func storeIn(device *flash.Device) (*state.Store, error) {
	area, err := device.Region(0, state.AreaSize)
	if err != nil {
		return nil, fmt.Errorf("the state is too small for the settings: %w", err)
	}
	return state.Open(area), nil
}

// settingsFile reads the settings file.
func settingsFile(o *options) (settings.Settings, error) {
	text, err := readFile(o.config, settings.MaxText)
	if errors.Is(err, fs.ErrNotExist) {
		return settings.Settings{}, fmt.Errorf("there are no settings at %s: name them with --config FILE", o.config)
	}
	if err != nil {
		return settings.Settings{}, err
	}
	s, err := settings.Parse(text)
	if err != nil {
		return settings.Settings{}, fmt.Errorf("the settings in %s cannot be used:\n%w", o.config, err)
	}
	return s, nil
}

// readFile reads a file of at most limit bytes and one over, so that the
// reader's own size check still sees what is too large.
func readFile(path string, limit int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return data, nil
}

// opener opens the state.
type opener func(settings.Settings) (*flash.Device, error)

// openBox opens the state and gets ready to reach the TPM.
func openBox(o *options, open opener) (*box, error) {
	s, err := readSettings(o)
	if err != nil {
		return nil, err
	}
	device, err := open(s)
	if err != nil {
		return nil, err
	}
	store, err := storeIn(device)
	if err != nil {
		return nil, errors.Join(err, device.Close())
	}
	chip, err := tpm.New(string(s.Keys.TPM))
	if err != nil {
		return nil, errors.Join(err, device.Close())
	}
	return &box{s, device, store, chip}, nil
}

// existingState opens a state that is there already.
func existingState(s settings.Settings) (*flash.Device, error) {
	device, err := flash.Open(s.State.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no state yet, an import or the relay makes it: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the state: %w", err)
	}
	return device, nil
}

// anyState opens the state, and makes it first where there is none yet.
func anyState(s settings.Settings) (*flash.Device, error) {
	device, err := existingState(s)
	if !errors.Is(err, fs.ErrNotExist) {
		return device, err
	}
	if err := flash.Create(s.State.Path, state.AreaSize+int64(s.Spool.Size)); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("making the state file: %w", err)
	}
	return existingState(s)
}

// probe asks the TPM at address how it is and what it can do.
func probe(ctx context.Context, address string) (found chip, err error) {
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

func (b *box) close() error {
	return errors.Join(b.tpm.Close(), b.device.Close())
}

// protector protects keys as the settings ask for.
func (b *box) protector() identity.Protector {
	if b.settings.Keys.Protection == settings.ProtectionFile {
		return func(_ context.Context, key crypto.Signer, binding []byte) (keyring.Key, error) {
			return keyring.ProtectInFile(key, binding)
		}
	}
	return func(ctx context.Context, key crypto.Signer, binding []byte) (keyring.Key, error) {
		return keyring.Protect(ctx, b.tpm, key, binding)
	}
}

// sealer protects secrets as the settings ask for.
func (b *box) sealer() keyring.Sealer {
	sealer := keyring.Sealer{
		Seal: func(ctx context.Context, name string, secret []byte) (keyring.Secret, error) {
			return keyring.SealSecret(ctx, b.tpm, name, secret)
		},
		Open: func(ctx context.Context, name string, stored keyring.Secret) ([]byte, error) {
			return keyring.OpenSecret(ctx, b.tpm, name, stored)
		},
	}
	if b.settings.Keys.Protection == settings.ProtectionFile {
		sealer.Seal = func(_ context.Context, name string, secret []byte) (keyring.Secret, error) {
			return keyring.SecretInFile(name, secret), nil
		}
	}
	return sealer
}

// print writes a value as JSON or in its own words.
func (o *options) print(w io.Writer, value fmt.Stringer) error {
	if !o.json {
		_, err := fmt.Fprintln(w, strings.TrimSuffix(value.String(), "\n"))
		return err
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}
