package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sealpost/hal/linux/clock"
	"sealpost/hal/linux/usb"
	"sealpost/provisioning/bundle"
	"sealpost/provisioning/candidate"
)

// stickDir is where a stick is mounted, for the process alone that reads it.
const stickDir = "/run/stick"

// resultName is the file on the stick that tells what became of it.
const resultName = "result.txt"

// stickVerdict is what became of a stick.
type stickVerdict struct {
	Applied bool     `json:"applied,omitempty"` // to this box, now
	Before  bool     `json:"before,omitempty"`  // applied earlier, so nothing was changed
	Files   []string `json:"files,omitempty"`   // that were read
	Faults  []string `json:"faults,omitempty"`
}

func (v stickVerdict) String() string {
	switch {
	case v.Applied:
		return "applied: " + strings.Join(v.Files, ", ")
	case v.Before:
		return "applied before, nothing was changed: " + strings.Join(v.Files, ", ")
	}
	return "refused, nothing was changed: " + strings.Join(v.Faults, "; ")
}

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
			return o.print(c.OutOrStdout(), stickVerdict{Faults: faultsOf(err)})
		}
		v := o.takeVolume(ctx, volume, serial)
		// Whoever waits can put the settings into force before the slow stick
		// is written to.
		if err := o.print(c.OutOrStdout(), v); err != nil {
			return errors.Join(err, volume.Unmount())
		}
		var done resultWritten
		if err := volume.WriteFile(path.Join(bundle.Folder, resultName), resultText(v, serial, trustedTime())); err != nil {
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
func (o *options) takeVolume(ctx context.Context, volume *usb.Volume, serial string) stickVerdict {
	files, err := volume.Root()
	if err != nil {
		return stickVerdict{Faults: faultsOf(err)}
	}
	defer files.Close()
	return o.takeFiles(ctx, files.FS(), serial)
}

func (o *options) takeFiles(ctx context.Context, files fs.FS, serial string) stickVerdict {
	b, faults := bundle.Read(files, serial)
	v := stickVerdict{Files: b.Files()}
	err := o.commitBundle(ctx, b, faults)
	switch {
	case errors.Is(err, errAppliedBefore):
		v.Before = true
	case err != nil:
		v.Faults = faultsOf(err)
	default:
		v.Applied = true
	}
	return v
}

var errAppliedBefore = errors.New("this was applied before")

// commitBundle commits a bundle in which nothing is wrong.
func (o *options) commitBundle(ctx context.Context, b bundle.Bundle, faults error) error {
	if faults != nil {
		return errors.Join(faults, b.Check(usable))
	}
	checker, done, err := o.checker(ctx, b.Candidate)
	if err != nil {
		return err
	}
	before, err := candidate.Applied(ctx, checker.Store, b.Origin)
	switch {
	case err != nil:
	case before:
		err = errAppliedBefore
	default:
		if err = errors.Join(b.Check(usable), comesFirst(ctx, checker.Store, b)); err == nil {
			err = checker.Commit(ctx, b.Candidate)
		}
	}
	return errors.Join(err, done())
}

// comesFirst refuses what a box cannot work by as long as it has no settings:
// taken alone it would look like a box that was set up.
func comesFirst(ctx context.Context, store candidate.Store, b bundle.Bundle) error {
	if b.Settings != "" {
		return nil
	}
	_, err := candidate.Load(ctx, store)
	if errors.Is(err, candidate.ErrFactory) {
		return fmt.Errorf("%s: this box was never set up, and there are no settings: put sealpost.toml there too, or set the box up over its serial console first", b.Folder)
	}
	return err
}

// trustedTime is the time, or none where the box does not know it.
func trustedTime() time.Time {
	if !clock.Trusted() {
		return time.Time{}
	}
	return time.Now().UTC()
}

// resultText tells a technician at a PC what became of the stick; a zero time
// is left out.
func resultText(v stickVerdict, serial string, now time.Time) []byte {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\r\n", args...) }
	line("Sealpost: what became of this stick")
	line("")
	line("Box:   %s", serial)
	if !now.IsZero() {
		line("Time:  %s UTC", now.Format(time.DateTime))
	}
	for i, name := range v.Files {
		line("%-6s %s", []string{"Read:", ""}[min(i, 1)], name)
	}
	line("")
	switch {
	case v.Applied:
		line("The box has taken this over.")
		line("")
		line("Next: pull the stick, and take PFX, password and secret off it: the box has")
		line("its own copy. Have a device send a test message. If the lamp is not on steadily")
		line("after a minute, the serial console says why.")
	case v.Before:
		line("This box has taken exactly these files over before. Nothing was changed.")
		line("")
		line("Next: pull the stick. If the box is to have other settings, change the files.")
	default:
		line("Nothing was changed, because of:")
		for i, fault := range v.Faults {
			line("%d. %s", i+1, fault)
		}
		line("")
		line("Next: correct this on the stick, eject it, and put it into the box again.")
	}
	return []byte(b.String())
}
