package usb

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// kinds are the supported file systems.
var kinds = []struct{ name, options string }{
	// Names as Windows shows them; the kernel's default is a code page.
	{"vfat", "utf8=1"},
	{"exfat", ""},
}

// errFormat is the error of a stick without a supported file system.
var errFormat = errors.New("it holds no FAT32 or exFAT file system, or a damaged one: format the stick as FAT32 and copy the files again")

const readOnly = unix.MS_RDONLY | noHarm

// noHarm are the mount flags for an untrusted file system.
const noHarm = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

// Volume is a mounted file system.
type Volume struct{ device, dir string }

// Mount mounts the file system of a device read-only at dir, an empty folder.
// It can block for as long as the stick blocks the kernel: a caller that cannot,
// calls it in a process that may be left behind.
func Mount(device, dir string) (*Volume, error) {
	var failures []error
	for _, kind := range kinds {
		err := unix.Mount(device, dir, kind.name, readOnly, kind.options)
		if err == nil {
			return &Volume{device, dir}, nil
		}
		failures = append(failures, fmt.Errorf("mounting %s as %s: %w", device, kind.name, err))
	}
	for _, err := range failures {
		// EINVAL is what a file system says of another's.
		if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENODEV) {
			return nil, fmt.Errorf("the stick cannot be read: try again, or take another stick: %w", err)
		}
	}
	return nil, errFormat
}

// Unmount unmounts the volume, even if the stick is gone.
func (v *Volume) Unmount() error {
	if err := unix.Unmount(v.dir, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmounting %s: %w", v.device, err)
	}
	return nil
}

// Root returns the volume's root folder, which no name or link can escape.
func (v *Volume) Root() (*os.Root, error) {
	root, err := os.OpenRoot(v.dir)
	if err != nil {
		return nil, fmt.Errorf("opening the stick: %w", err)
	}
	return root, nil
}

// WriteFile writes one file of the volume durably. Only during the call is the
// volume writable.
func (v *Volume) WriteFile(name string, content []byte) (err error) {
	if v.protected() {
		return errors.New("the stick is write-protected")
	}
	if err := v.remount(noHarm); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.remount(readOnly)) }()
	root, err := v.Root()
	if err != nil {
		return err
	}
	defer root.Close()
	file, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return fmt.Errorf("writing to the stick: %w", err)
	}
	defer file.Close()
	_, err = file.Write(content)
	// The folder's entry is not in the file: the whole file system goes out.
	return errors.Join(err, file.Sync(), unix.Syncfs(int(file.Fd())), file.Close())
}

func (v *Volume) remount(flags uintptr) error {
	if err := unix.Mount("", v.dir, "", unix.MS_REMOUNT|flags, ""); err != nil {
		return fmt.Errorf("making the stick writable or not: %w", err)
	}
	return nil
}

// protected reports whether the device refuses to be written to.
func (v *Volume) protected() bool {
	return attribute(filepath.Join("/sys/class/block", filepath.Base(v.device)), "ro") == "1"
}
