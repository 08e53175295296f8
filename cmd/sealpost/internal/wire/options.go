package wire

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"sealpost/provisioning/candidate"
	"sealpost/provisioning/settings"
)

// Options name the parts of a command. They override the settings.
type Options struct {
	Config  string // the settings file; empty: the settings are in the state
	State   string // the state file or block device; empty: as the settings say
	TPM     string // the TPM's address; empty: as the settings say
	Control string // the control socket; empty: as the settings say
}

// Settings reads and checks the settings, and applies the options.
func (o Options) Settings() (settings.Settings, error) {
	read := o.fileSettings
	if o.Config == "" {
		read = o.storedSettings
	}
	s, err := read()
	if err != nil {
		return settings.Settings{}, err
	}
	if err := o.override(&s); err != nil {
		return settings.Settings{}, err
	}
	return s, nil
}

func (o Options) override(s *settings.Settings) (err error) {
	s.State.Path = cmp.Or(o.State, s.State.Path)
	if s.State.Path == "" {
		if s.State.Path, err = DefaultState(); err != nil {
			return err
		}
	}
	s.Keys.TPM = cmp.Or(settings.TPMAddress(o.TPM), s.Keys.TPM)
	s.Control.Socket = cmp.Or(o.Control, s.Control.Socket)
	return nil
}

// DefaultState returns the path of the state if neither the settings nor the
// options name one: in the state folder of the systemd service
// (systemd.exec(5), StateDirectory=), else in the user's state folder (XDG Base
// Directory Specification).
func DefaultState() (string, error) {
	const name = "box.state"
	if dirs := filepath.SplitList(os.Getenv("STATE_DIRECTORY")); len(dirs) > 0 && filepath.IsAbs(dirs[0]) {
		return filepath.Join(dirs[0], name), nil
	}
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "sealpost", name), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("finding a folder for the state: %w: set state.path, or name the state with --state", err)
	}
	return filepath.Join(home, ".local", "state", "sealpost", name), nil
}

// storedSettings reads the settings from the state, as on an appliance.
func (o Options) storedSettings() (s settings.Settings, err error) {
	err = o.WithStore(func(store candidate.Store) error {
		ctx, cancel := context.WithTimeout(context.Background(), LockTimeout)
		defer cancel()
		stored, err := candidate.LoadSettings(ctx, store)
		s = stored.Settings
		return err
	})
	return s, err
}

// WithStore calls use with the settings area of the state in the options.
func (o Options) WithStore(use func(candidate.Store) error) (err error) {
	device, err := ExistingState(settings.Settings{State: settings.State{Path: o.State}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, device.Close()) }()
	store, err := StoreIn(device)
	if err != nil {
		return err
	}
	return use(store)
}

func (o Options) fileSettings() (settings.Settings, error) {
	text, err := ReadFile(o.Config, settings.MaxText)
	if errors.Is(err, fs.ErrNotExist) {
		return settings.Settings{}, fmt.Errorf("there is no settings file %s: check the path, or give another one with --config FILE", o.Config)
	}
	if err != nil {
		return settings.Settings{}, err
	}
	s, err := settings.Parse(text)
	if err != nil {
		return settings.Settings{}, fmt.Errorf("the settings in %s cannot be used:\n%w", o.Config, err)
	}
	return s, nil
}

// missingFile is the error of a path at which there is no file.
type missingFile string

func (m missingFile) Error() string {
	return fmt.Sprintf("there is no file %s: check the path", string(m))
}

// Is makes the error match [fs.ErrNotExist].
func (missingFile) Is(target error) bool { return target == fs.ErrNotExist }

// ReadFile reads at most limit+1 bytes of a file, so that the caller can detect a
// file that is too large.
func ReadFile(path string, limit int64) ([]byte, error) {
	file, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, missingFile(path)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("no permission to read %s: change its permissions, or run this as a user who may read it", path)
	case err != nil:
		return nil, fmt.Errorf("reading the file: %w", err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, fmt.Errorf("reading the file: %w", err)
	}
	return data, nil
}
