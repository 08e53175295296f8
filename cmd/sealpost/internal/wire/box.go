// Package wire builds the parts of the program from the settings: it opens the
// state and the TPM, and creates what the relay, the commands and the diagnosis
// use.
//
// It is the only package that connects relay and provisioning. It must not print,
// serve or decide what to do with a part.
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
	"strings"
	"time"
	"unicode"

	"sealpost/hal"
	"sealpost/hal/fault"
	"sealpost/hal/linux/flash"
	"sealpost/hal/linux/tpm"
	"sealpost/provisioning/binding"
	"sealpost/provisioning/candidate"
	"sealpost/provisioning/credential"
	"sealpost/provisioning/identity"
	"sealpost/provisioning/keyring"
	"sealpost/provisioning/settings"
	"sealpost/provisioning/spoolkey"
	"sealpost/provisioning/state"
	"sealpost/provisioning/user"
)

// LockTimeout is how long to wait for another sealpost command.
const LockTimeout = 2 * time.Second

// Box holds the open parts that the settings name. It must be closed.
type Box struct {
	Settings settings.Settings
	Device   *flash.Device
	Store    *state.Store
	TPM      *tpm.TPM
	Created  bool // the state did not exist before
}

// Opener opens the state.
type Opener func(settings.Settings) (*flash.Device, error)

// Open opens the state; it connects to the TPM on first use.
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

// assemble takes ownership of the device, even if it fails.
func assemble(s settings.Settings, device *flash.Device, store *state.Store) (*Box, error) {
	chip, err := tpm.New(string(s.Keys.TPM))
	if err != nil {
		return nil, errors.Join(err, device.Close())
	}
	return &Box{Settings: s, Device: device, Store: store, TPM: chip}, nil
}

// Close closes the TPM and the state.
func (b *Box) Close() error { return errors.Join(b.TPM.Close(), b.Device.Close()) }

// StoreIn returns the settings area at the start of a state.
func StoreIn(device *flash.Device) (*state.Store, error) {
	if device.Size() < state.AreaSize {
		return nil, fmt.Errorf("%s is not a state: it has only %d bytes", device.Name(), device.Size())
	}
	area, err := device.Region(0, state.AreaSize)
	if err != nil {
		return nil, err
	}
	return state.Open(area), nil
}

// Ring returns the part of a state after the settings area.
func Ring(device *flash.Device) (*flash.Region, error) {
	return device.Region(state.AreaSize, device.Size()-state.AreaSize)
}

// ErrNoState is the error of a missing state.
var ErrNoState = fault.New(fault.NoState, "there is no state yet")

// ExistingState opens an existing state.
func ExistingState(s settings.Settings) (*flash.Device, error) {
	if s.State.Path == "" {
		return nil, errors.New("no settings file and no state are given: add --config FILE or --state FILE")
	}
	device, err := flash.Open(s.State.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNoState.With("path", s.State.Path).Wrap(err)
	}
	return device, err
}

// AnyState opens the state, and creates it if it is missing.
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
		return nil, err
	}
	return ExistingState(s)
}

// Hostname returns the box's name, on the LAN and upstream.
func (b *Box) Hostname() (string, error) {
	if b.Settings.LAN.Hostname != "" {
		return string(b.Settings.LAN.Hostname), nil
	}
	name, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("finding this machine's name: %w: set lan.hostname", err)
	}
	return hostname(name)
}

// hostname converts the name of a machine to one that is valid in EHLO (RFC 5321
// section 2.3.5), which Exchange Online checks. Names such as my_relay and those with a
// dot at the end are not.
func hostname(name string) (string, error) {
	valid := strings.Trim(strings.Map(func(r rune) rune {
		if r <= unicode.MaxASCII && (unicode.IsLetter(r) || unicode.IsDigit(r) || r == '.') {
			return unicode.ToLower(r)
		}
		return '-'
	}, name), "-.")
	var h settings.Host
	if err := h.UnmarshalText([]byte(valid)); err != nil || valid == "" {
		return "", fmt.Errorf("this machine's name %q is not a host name: set lan.hostname, such as \"relay.contoso.com\"", name)
	}
	return string(h), nil
}

// Protector protects keys as the settings require.
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

// Sealer protects secrets as the settings require.
func (b *Box) Sealer() keyring.Sealer {
	if b.Settings.Keys.Protection == settings.ProtectionFile {
		return keyring.FileSealer(b.TPM)
	}
	return keyring.TPMSealer(b.TPM)
}

// Authentic returns candidate.ErrForeign if the stored settings were not committed on
// this box. Other errors are those of the state and the TPM. A box that has always
// stored its keys in clear text has no binding to check, so Authentic returns nil. If
// the spool's key is sealed, keys were protected by a TPM before, and Authentic returns
// the error, even if that TPM has been removed.
func (b *Box) Authentic(ctx context.Context) error {
	err := candidate.Authentic(ctx, b.Store, b.Sealer())
	tpmFault := (*hal.TPMFault)(nil)
	if b.Settings.Keys.Protection == settings.ProtectionFile && (errors.Is(err, binding.ErrNone) || errors.As(err, &tpmFault)) {
		if sealed, unreadable := spoolkey.Sealed(ctx, b.Store); unreadable == nil && !sealed {
			return nil
		}
	}
	return err
}

// Generator creates keys as the settings require: RSA, which token issuers accept.
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

// Vault stores the credentials of the application in the settings.
func (b *Box) Vault() credential.Vault {
	return credential.Vault{Store: b.Store, Sealer: b.Sealer(), Application: credential.Of(b.Settings)}
}

// Checker returns a checker for a candidate. It uses the state and the TPM of the
// options, or else of the candidate's or stored settings. The caller calls done.
func (o Options) Checker(ctx context.Context, c candidate.Candidate) (k candidate.Checker, done func() error, err error) {
	// The check reports invalid settings.
	s, err := settings.Parse([]byte(c.Settings))
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
	if c.Settings == "" {
		s = o.storedOr(ctx, store, s)
	}
	b, err := assemble(s, device, store)
	if err != nil {
		return k, nil, err
	}
	return b.Checker(), b.Close, nil
}

// Checker returns a checker for a candidate whose settings are those of the box.
func (b *Box) Checker() candidate.Checker {
	return candidate.Checker{Store: b.Store, TPM: b.TPM, Protect: b.Protector(), Sealer: b.Sealer(), CheckPath: CheckPath, CheckServer: CheckServer}
}

// Users returns the directory of the users as whom devices log in. report is called for
// each new reason why it cannot read them.
func (b *Box) Users(report func(error)) *user.Directory {
	return user.NewDirectory(b.Store, b.Sealer(), report)
}

// storedOr returns the settings in the store, as far as this version can read them,
// or fallback if there are none.
func (o Options) storedOr(ctx context.Context, store *state.Store, fallback settings.Settings) settings.Settings {
	stored, err := candidate.LoadSettings(ctx, store)
	if err != nil && fault.CodeOf(err) != fault.SettingsInvalid {
		return fallback
	}
	o.override(&stored.Settings)
	return stored.Settings
}
