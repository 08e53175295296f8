package appliance

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"time"

	"sealpost/cmd/sealpost/internal/wire"
	"sealpost/hal/linux/clock"
	"sealpost/hal/linux/usb"
	"sealpost/provisioning/bundle"
	"sealpost/provisioning/candidate"
)

// stickDir is the mount point of a stick, in its own mount namespace.
const stickDir = "/run/stick"

// stickResult reports whether the result file could be written.
type stickResult struct {
	Trouble string `json:"trouble,omitempty"`
}

// ApplyStick is the main function of a process with its own mount namespace. It
// applies a stick and prints in JSON the result, and then whether the result file
// could be written. A faulty stick or file system cannot harm PID 1, and the mount
// disappears with the process.
func ApplyStick(ctx context.Context, o wire.Options, disk, serial string, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, stickTimeout)
	defer cancel()
	results := json.NewEncoder(out)
	volume, err := mountBundle(disk)
	if err != nil {
		return results.Encode(bundle.Rejected(err))
	}
	v := applyVolume(ctx, o, volume, serial)
	// PID 1 can apply the settings before the slow write to the stick.
	if err := results.Encode(v); err != nil {
		return errors.Join(err, volume.Unmount())
	}
	var now time.Time
	if clock.Trusted() {
		now = time.Now().UTC()
	}
	var result stickResult
	if err := volume.WriteFile(path.Join(bundle.Folder, bundle.ResultName), v.Text(serial, now)); err != nil {
		result.Trouble = err.Error()
	}
	ca, err := authority(ctx, o)
	if err == nil && ca != nil {
		err = volume.WriteFile(path.Join(bundle.Folder, bundle.AuthorityName), ca)
	}
	if err != nil && result.Trouble == "" {
		result.Trouble = err.Error()
	}
	return errors.Join(results.Encode(result), volume.Unmount())
}

// authority returns the certificate of the box's own CA, for the PCs and devices that
// are to trust it. A box without settings has none yet.
func authority(ctx context.Context, o wire.Options) ([]byte, error) {
	const timeout = 20 * time.Second // the settings are applied even if the TPM does not reply
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	o.Config = "" // the settings are in the state
	b, err := o.Open(wire.ExistingState)
	if errors.Is(err, candidate.ErrFactory) || errors.Is(err, wire.ErrNoState) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	ca, err := b.Authority(ctx)
	return ca, errors.Join(err, b.Close())
}

// applyVolume applies a mounted stick. It leaves no file open, so that the volume
// can be unmounted.
func applyVolume(ctx context.Context, o wire.Options, volume *usb.Volume, serial string) bundle.Result {
	files, err := volume.Root()
	if err != nil {
		return bundle.Rejected(err)
	}
	defer files.Close()
	return bundle.Apply(ctx, files.FS(), serial, wire.CheckPath, o.Checker)
}

// mountBundle mounts the first file system of a disk that has the folder.
func mountBundle(disk string) (*usb.Volume, error) {
	devices, err := usb.Devices(disk)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(stickDir, 0o755); err != nil {
		return nil, err
	}
	var unreadable error
	readable := false
	for _, device := range devices {
		volume, err := usb.Mount(device, stickDir)
		if err != nil {
			unreadable = err
			continue
		}
		readable = true
		_, err = os.Stat(path.Join(stickDir, bundle.Folder))
		if !errors.Is(err, fs.ErrNotExist) {
			return volume, nil
		}
		if err := volume.Unmount(); err != nil {
			return nil, err
		}
	}
	if readable || unreadable == nil {
		return nil, bundle.ErrNone
	}
	return nil, unreadable
}
