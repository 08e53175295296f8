package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"time"

	"github.com/spf13/cobra"

	"sealpost/hal/linux/clock"
	"sealpost/hal/linux/usb"
	"sealpost/provisioning/bundle"
)

// stickDir is where a stick is mounted, for the process alone that reads it.
const stickDir = "/run/stick"

// resultWritten tells whether the stick could take the file with the result.
type resultWritten struct {
	Trouble string `json:"trouble,omitempty"`
}

func (w resultWritten) String() string { return w.Trouble }

// stickCommand is a process with mounts of its own: whatever a stick or its
// file system does, it does not do it to the first process, and the mount goes
// with the process.
func stickCommand(o *options) *cobra.Command {
	var disk, serial string
	c := leaf("stick --disk NAME --serial NUMBER", "Apply what a USB stick holds for this box", 0, func(c *cobra.Command, _ []string) error {
		ctx, cancel := context.WithTimeout(c.Context(), stickPatience)
		defer cancel()
		volume, err := findBundle(disk)
		if err != nil {
			return o.print(c.OutOrStdout(), bundle.Refused(err))
		}
		v := o.takeVolume(ctx, volume, serial)
		// Whoever waits can put the settings into force before the slow stick
		// is written to.
		if err := o.print(c.OutOrStdout(), v); err != nil {
			return errors.Join(err, volume.Unmount())
		}
		var done resultWritten
		if err := volume.WriteFile(path.Join(bundle.Folder, bundle.ResultName), v.Result(serial, trustedTime())); err != nil {
			done.Trouble = err.Error()
		}
		return errors.Join(o.print(c.OutOrStdout(), done), volume.Unmount())
	})
	c.Flags().StringVar(&disk, "disk", "", "the stick's `disk`, such as sda")
	c.Flags().StringVar(&serial, "serial", "", "the box's serial `number`")
	c.Hidden = true
	return c
}

// findBundle mounts the first file system of a disk that has a folder for a
// box.
func findBundle(disk string) (*usb.Volume, error) {
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
	if readable {
		return nil, bundle.ErrNone
	}
	return nil, unreadable
}

// takeVolume reads what is meant for this box and commits it, unless that was
// done before.
func (o *options) takeVolume(ctx context.Context, volume *usb.Volume, serial string) bundle.Verdict {
	files, err := volume.Root()
	if err != nil {
		return bundle.Refused(err)
	}
	defer files.Close()
	return bundle.Apply(ctx, files.FS(), serial, usable, o.checker)
}

// trustedTime is the time, or none where the box does not know it.
func trustedTime() time.Time {
	if !clock.Trusted() {
		return time.Time{}
	}
	return time.Now().UTC()
}
