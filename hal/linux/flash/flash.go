//go:build linux

// Package flash is the box's state on Linux: one file or block device, opened
// once, and regions of it.
//
// It knows bounds, flushes and locks. It must not know what the bytes mean or
// how the regions are laid out: that is up to its callers.
package flash

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"sealpost/hal"
)

var (
	_ hal.Flash = (*Device)(nil)
	_ hal.Flash = (*Region)(nil)
)

// ErrOutOfRange is wrapped by the error of every access beyond the bounds of a
// device or a region. Such an access reads and writes nothing.
var ErrOutOfRange = errors.New("access beyond the end")

// Device is an open file or block device of fixed size. It is safe for
// concurrent use.
type Device struct {
	file *os.File
	size int64

	flushing sync.Mutex
	poisoned error // the first failure of a flush
}

// Open opens an existing file or block device for reading and writing. The
// error wraps [fs.ErrNotExist] where there is none.
func Open(path string) (*Device, error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("opening the state: %w: only root and its owner may open it", err)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the state: %w", err)
	}
	size, err := storageSize(file)
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("opening the state: %s %w", path, err)
	}
	return &Device{file: file, size: size}, nil
}

func storageSize(file *os.File) (int64, error) {
	info, err := file.Stat()
	if err != nil {
		return 0, fmt.Errorf("has no size: %w", err)
	}
	if kind := info.Mode().Type(); kind != 0 && kind != fs.ModeDevice {
		return 0, errors.New("is neither a file nor a block device: correct state.path in the settings")
	}
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, fmt.Errorf("has no size: %w", err)
	}
	if size == 0 {
		return 0, errors.New("is empty, so it was not made by sealpost: delete it or correct state.path in the settings")
	}
	return size, nil
}

// Close closes the device, its regions and their locks.
func (d *Device) Close() error { return d.file.Close() }

// Name returns the path at which the device was opened.
func (d *Device) Name() string { return d.file.Name() }

// Size implements [hal.Flash].
func (d *Device) Size() int64 { return d.size }

// ReadAt implements [hal.Flash]. It reads all of p or fails.
func (d *Device) ReadAt(p []byte, off int64) (int, error) {
	if err := checkBounds(off, int64(len(p)), d.size); err != nil {
		return 0, err
	}
	n, err := d.file.ReadAt(p, off)
	if err == io.EOF {
		err = fmt.Errorf("%s was cut short while in use: %w", d.file.Name(), io.ErrUnexpectedEOF)
	}
	return n, err
}

// WriteAt implements [hal.Flash]. It never makes the device larger.
func (d *Device) WriteAt(p []byte, off int64) (int, error) {
	if err := checkBounds(off, int64(len(p)), d.size); err != nil {
		return 0, err
	}
	return d.file.WriteAt(p, off)
}

// Flush implements [hal.Flash] with fdatasync. After one failure it always fails:
// Linux forgets which writes were lost, so a later success would be wrong.
func (d *Device) Flush() error {
	d.flushing.Lock()
	defer d.flushing.Unlock()
	if d.poisoned == nil {
		if err := d.control(unix.Fdatasync); err != nil {
			d.poisoned = fmt.Errorf("flushing %s: %w", d.file.Name(), err)
		}
	}
	return d.poisoned
}

// control runs a system call on the file, again if a signal interrupted it.
func (d *Device) control(call func(fd int) error) error {
	raw, err := d.file.SyscallConn()
	if err != nil {
		return err
	}
	var callErr error
	err = raw.Control(func(fd uintptr) {
		for callErr = unix.EINTR; callErr == unix.EINTR; {
			callErr = call(int(fd))
		}
	})
	return cmp.Or(err, callErr)
}

func checkBounds(off, length, size int64) error {
	if off < 0 || length < 0 || off > size || length > size-off {
		return fmt.Errorf("%d bytes at %d of %d: %w", length, off, size, ErrOutOfRange)
	}
	return nil
}
