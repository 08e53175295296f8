package wire

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"sealpost/provisioning/settings"
)

// errStored is returned for a change of settings that are not in a file.
var errStored = errors.New("the settings are stored in the state: change them on the console or with a USB stick, or name a settings file with --config FILE")

// EditSettings changes the settings file, all of it or nothing. Another call, also of
// another process, waits for it.
func (o Options) EditSettings(change func(text []byte) ([]byte, error)) error {
	if o.Config == "" {
		return errStored
	}
	path, err := filepath.EvalSymlinks(o.Config)
	if err != nil {
		path = o.Config
	}
	unlock, err := lockFile(path)
	if err != nil {
		return err
	}
	defer unlock()
	text, err := ReadFile(path, settings.MaxText)
	if err != nil {
		return err
	}
	edited, err := change(text)
	if err != nil {
		return fmt.Errorf("%s was not changed: %w", o.Config, err)
	}
	if err := replaceFile(path, edited); err != nil {
		return fmt.Errorf("writing %s: %w", o.Config, err)
	}
	return nil
}

// replaceFile replaces the content of a file at once, and keeps its mode and owner.
func replaceFile(path string, content []byte) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(path), ".sealpost-*.toml")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) // fails once it is renamed
	_, err = file.Write(content)
	err = errors.Join(err, file.Chmod(info.Mode().Perm()), chownLike(file, info), file.Sync(), file.Close())
	if err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}
