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
	// utf8 decodes names as Windows does; the kernel's default is a code page.
	{"vfat", "utf8=1"},
	{"exfat", ""},
}

// errFormat is the error of a stick without a supported file system.
var errFormat = errors.New("it holds no FAT32 or exFAT file system, or a damaged one: format the stick as FAT32 and copy the files again")

const readOnly = unix.MS_RDONLY | untrusted

// untrusted are the mount flags for an untrusted file system.
const untrusted = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

// Volume is a mounted file system.
type Volume struct{ device, dir string }

// Mount mounts the file system of a device read-only at dir, an empty folder.
// It blocks as long as the stick blocks the kernel: a caller that must not block
// calls it in a child process.
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
		// A file system returns EINVAL for another's format.
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

// WriteFile writes one file of the volume durably. The
// volume is writable only during the call.
func (v *Volume) WriteFile(name string, content []byte) (err error) {
	if v.protected() {
		return errors.New("the stick is write-protected")
	}
	if err := v.remount(untrusted); err != nil {
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
	// The folder's entry is not part of the file, so the whole file system is synced.
	return errors.Join(err, file.Sync(), unix.Syncfs(int(file.Fd())), file.Close())
}

func (v *Volume) remount(flags uintptr) error {
	if err := unix.Mount("", v.dir, "", unix.MS_REMOUNT|flags, ""); err != nil {
		return fmt.Errorf("remounting the stick: %w", err)
	}
	return nil
}

// protected reports whether the device is write-protected.
func (v *Volume) protected() bool {
	return attribute(filepath.Join("/sys/class/block", filepath.Base(v.device)), "ro") == "1"
}
