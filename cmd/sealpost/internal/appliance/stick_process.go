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
)

// stickDir is where a stick is mounted, for the process alone that reads it.
const stickDir = "/run/stick"

// stickResult reports whether a stick could take the file with the result.
type stickResult struct {
	Trouble string `json:"trouble,omitempty"`
}

// ApplyStick is a process with its own mount namespace: it applies what a stick holds
// for this box, and prints the result and then whether the stick took the
// file with the result, in JSON. Whatever a stick or its file system does, it
// does not do it to PID 1, and the mount goes with the process.
func ApplyStick(ctx context.Context, o wire.Options, disk, serial string, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, stickTimeout)
	defer cancel()
	results := json.NewEncoder(out)
	volume, err := mountBundle(disk)
	if err != nil {
		return results.Encode(bundle.Refused(err))
	}
	v := applyVolume(ctx, o, volume, serial)
	// PID 1 can put the settings into force before the slow stick is written to.
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
	return errors.Join(results.Encode(result), volume.Unmount())
}

// applyVolume leaves no file open, so that the volume can be unmounted.
func applyVolume(ctx context.Context, o wire.Options, volume *usb.Volume, serial string) bundle.Result {
	files, err := volume.Root()
	if err != nil {
		return bundle.Refused(err)
	}
	defer files.Close()
	return bundle.Apply(ctx, files.FS(), serial, wire.CheckPath, o.Checker)
}

// mountBundle mounts the first file system of a disk that has a folder for a
// box.
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
