//go:build linux

package flash

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"sealpost/hal/fault"
)

// ErrInUse is wrapped by the error of a lock that another process held until
// the context was done.
var ErrInUse = fault.New(fault.StateInUse, "in use by another process of Sealpost")

// lockPoll is the interval between attempts to lock: the kernel's blocking call could
// not be cancelled.
const lockPoll = 20 * time.Millisecond

// Region is a part of a device, confined to its bounds. Regions share the
// device's flush.
type Region struct {
	device    *Device
	off, size int64
	held      chan struct{} // OFD locks do not exclude users of the same open file
}

// Region returns length bytes from off. A caller that locks a region keeps
// it: two Regions of one Device do not exclude each other.
func (d *Device) Region(off, length int64) (*Region, error) {
	if err := checkBounds(off, length, d.size); err != nil {
		return nil, fmt.Errorf("%s is too small: %w", d.file.Name(), err)
	}
	return &Region{device: d, off: off, size: length, held: make(chan struct{}, 1)}, nil
}

// Size implements [hal.Flash].
func (r *Region) Size() int64 { return r.size }

// ReadAt implements [hal.Flash].
func (r *Region) ReadAt(p []byte, off int64) (int, error) {
	if err := checkBounds(off, int64(len(p)), r.size); err != nil {
		return 0, err
	}
	return r.device.ReadAt(p, r.off+off)
}

// WriteAt implements [hal.Flash].
func (r *Region) WriteAt(p []byte, off int64) (int, error) {
	if err := checkBounds(off, int64(len(p)), r.size); err != nil {
		return 0, err
	}
	return r.device.WriteAt(p, r.off+off)
}

// Flush implements [hal.Flash]; it covers the whole device.
func (r *Region) Flush() error { return r.device.Flush() }

// lockTimeout is the error of a lock that could not be acquired in time. It wraps the
// error of the context without its text.
type lockTimeout struct {
	error
	cause error
}

func (l *lockTimeout) Unwrap() []error { return []error{l.error, l.cause} }

// Lock excludes every other process, and every other Lock of this Region, until
// unlock is called or the process ends. It waits until ctx is done and then
// fails with an error that wraps [ErrInUse].
func (r *Region) Lock(ctx context.Context) (unlock func() error, err error) {
	inUse := func() error { return &lockTimeout{fmt.Errorf("%s is %w", r.device.file.Name(), ErrInUse), ctx.Err()} }
	select {
	case r.held <- struct{}{}:
	case <-ctx.Done():
		return nil, inUse()
	}
	for {
		err := r.setLock(unix.F_WRLCK)
		if err == nil {
			return sync.OnceValue(r.unlock), nil
		}
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EACCES) {
			<-r.held
			return nil, fmt.Errorf("locking %s: %w", r.device.file.Name(), err)
		}
		select {
		case <-ctx.Done():
			<-r.held
			return nil, inUse()
		case <-time.After(lockPoll):
		}
	}
}

func (r *Region) unlock() error {
	defer func() { <-r.held }()
	if err := r.setLock(unix.F_UNLCK); err != nil {
		return fmt.Errorf("unlocking %s: %w", r.device.file.Name(), err)
	}
	return nil
}

func (r *Region) setLock(kind int16) error {
	return r.device.control(func(fd int) error {
		return unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &unix.Flock_t{Type: kind, Start: r.off, Len: r.size})
	})
}
