// Package button detects that a key of an input device is held for some time.
//
// It knows the kernel's input events (linux/input.h), and that devices appear late
// and disappear. It must not know what the key does.
package button

import (
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// pollInterval is the interval of searches for devices.
const pollInterval = time.Second

const keyEvent = 1 // EV_KEY

// struct input_event is a timeval, whose size depends on the processor, a type, a
// code and a value.
const (
	sizeOfTime  = int(unsafe.Sizeof(unix.Timeval{}))
	sizeOfEvent = sizeOfTime + 8
)

// Button is a key of any of several input devices.
type Button struct {
	Devices string // a file name pattern, as in filepath.Glob
	Key     uint16 // key code (linux/input-event-codes.h)
	Hold    time.Duration
	// Pressed is called when the key goes down and up. If a device
	// disappears, its keys count as released.
	Pressed func(down bool)
	// Held is called once for each press that lasts for Hold.
	Held func()
	// Stuck is called if the key is down when a device appears. It counts as pressed only
	// after it was released: a short circuit must not act like a person.
	Stuck func(device string)

	// down is isDown; a test has no device with a state.
	down func(device *os.File, key uint16) bool

	mu        sync.Mutex
	holdTimer *time.Timer // calls Held; nil while the key is up
}

// Run reads the devices, including new ones, until ctx ends.
func (b *Button) Run(ctx context.Context) {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	var reading sync.WaitGroup
	defer reading.Wait()
	var mu sync.Mutex
	open := map[string]bool{}
	for ctx.Err() == nil {
		paths, _ := filepath.Glob(b.Devices)
		for _, path := range paths {
			mu.Lock()
			known := open[path]
			open[path] = true
			mu.Unlock()
			if known {
				continue
			}
			reading.Go(func() {
				b.follow(ctx, path)
				mu.Lock()
				defer mu.Unlock()
				delete(open, path)
			})
		}
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
}

// follow reads a device until it is gone or ctx ends.
func (b *Button) follow(ctx context.Context, path string) {
	device, err := os.Open(path)
	if err != nil {
		return // it is tried again at the next search
	}
	defer device.Close()
	defer context.AfterFunc(ctx, func() { _ = device.Close() })()
	atStart := isDown
	if b.down != nil {
		atStart = b.down
	}
	stuck := atStart(device, b.Key)
	if stuck {
		b.Stuck(path)
	}
	down := false
	defer func() {
		if down {
			b.press(false)
		}
	}()
	const events = 64
	for buffer := make([]byte, events*sizeOfEvent); ; {
		n, err := device.Read(buffer)
		if err != nil {
			return
		}
		for event := range eventsIn(buffer[:n]) {
			// A value of 2 is the automatic repeat of a key that is held down.
			if event.kind != keyEvent || event.code != b.Key || event.value == 2 {
				continue
			}
			if stuck = stuck && event.value == 1; !stuck && down != (event.value == 1) {
				down = !down
				b.press(down)
			}
		}
	}
}

// isDown reports whether a key of an input device is down: EVIOCGKEY of linux/input.h.
// Of a device without that state, it is not.
func isDown(device *os.File, key uint16) bool {
	const get, size = 0x18, 0x300 / 8 // KEY_MAX is 0x2ff
	const request = 2<<30 | size<<16 | 'E'<<8 | get
	var keys [size]byte
	down := false
	if conn, err := device.SyscallConn(); err == nil && int(key/8) < size {
		_ = conn.Control(func(fd uintptr) {
			_, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, request, uintptr(unsafe.Pointer(&keys)))
			down = errno == 0 && keys[key/8]&(1<<(key%8)) != 0
		})
	}
	return down
}

// event is an input event without its time.
type event struct {
	kind, code uint16
	value      int32
}

// eventsIn returns the complete events in a buffer.
func eventsIn(data []byte) func(yield func(event) bool) {
	return func(yield func(event) bool) {
		for ; len(data) >= sizeOfEvent; data = data[sizeOfEvent:] {
			at := data[sizeOfTime:]
			e := event{binary.NativeEndian.Uint16(at), binary.NativeEndian.Uint16(at[2:]), int32(binary.NativeEndian.Uint32(at[4:]))}
			if !yield(e) {
				return
			}
		}
	}
}

// press handles a change of the key, on any device.
func (b *Button) press(down bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.holdTimer != nil {
		b.holdTimer.Stop()
		b.holdTimer = nil
	}
	if down {
		b.holdTimer = time.AfterFunc(b.Hold, b.Held)
	}
	b.Pressed(down)
}
