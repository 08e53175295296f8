package button

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const key = 88

// keyboard is a named pipe that acts as an input device.
type keyboard struct{ *os.File }

func plugIn(t *testing.T, dir string) keyboard {
	t.Helper()
	path := filepath.Join(dir, "event0")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	pipe, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pipe.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
			t.Error(err)
		}
	})
	return keyboard{pipe}
}

func (k keyboard) send(t *testing.T, kind, code uint16, value int32) {
	t.Helper()
	data := make([]byte, sizeOfEvent)
	binary.NativeEndian.PutUint16(data[sizeOfTime:], kind)
	binary.NativeEndian.PutUint16(data[sizeOfTime+2:], code)
	binary.NativeEndian.PutUint32(data[sizeOfTime+4:], uint32(value))
	if _, err := k.Write(data); err != nil {
		t.Fatal(err)
	}
}

// watch runs a button that must be held for hold, and returns its events.
func watch(t *testing.T, dir string, hold time.Duration) (pressed <-chan bool, held <-chan struct{}) {
	t.Helper()
	presses, holds := make(chan bool, 10), make(chan struct{}, 10)
	b := &Button{Devices: filepath.Join(dir, "event*"), Key: key, Hold: hold,
		Pressed: func(down bool) { presses <- down }, Held: func() { holds <- struct{}{} }, Stuck: func(device string) { t.Errorf("%s is a pipe, and has no key that is down", device) }}
	go b.Run(t.Context())
	return presses, holds
}

func await[T any](t *testing.T, from <-chan T) (value T) {
	t.Helper()
	select {
	case value = <-from:
	case <-time.After(10 * time.Second):
		t.Fatal("no event within 10 seconds")
	}
	return value
}

func TestButton_ActsOnceWhenHeld(t *testing.T) {
	dir := t.TempDir()
	pressed, held := watch(t, dir, 20*time.Millisecond)
	k := plugIn(t, dir) // after Run has started
	k.send(t, keyEvent, key, 1)
	k.send(t, keyEvent, key, 2) // automatic repeat
	if !await(t, pressed) {
		t.Error("got released on a key repeat, want pressed")
	}
	await(t, held)
	k.send(t, keyEvent, key, 0)
	if await(t, pressed) || len(held) > 0 {
		t.Error("got pressed or held again after the release, want neither")
	}
}

func TestButton_DoesNothingWhenReleasedEarly(t *testing.T) {
	dir := t.TempDir()
	k := plugIn(t, dir)
	pressed, held := watch(t, dir, time.Hour)
	k.send(t, keyEvent, key+1, 1) // another key
	k.send(t, 4, key, 1)          // not a key event
	k.send(t, keyEvent, key, 1)
	k.send(t, keyEvent, key, 0)
	if !await(t, pressed) || await(t, pressed) || len(held) > 0 {
		t.Error("got other events than one press and one release")
	}
}

func TestButton_IsReleasedWhenItsDeviceIsUnplugged(t *testing.T) {
	dir := t.TempDir()
	pressed, held := watch(t, dir, time.Hour)
	k := plugIn(t, dir)
	k.send(t, keyEvent, key, 1)
	await(t, pressed)
	if err := errors.Join(os.Remove(filepath.Join(dir, "event0")), k.Close()); err != nil {
		t.Fatal(err)
	}
	if await(t, pressed) || len(held) > 0 {
		t.Error("got the key held after the device was unplugged, want released")
	}
}

func TestButton_IgnoresAKeyThatIsDownFromTheStartUntilItsRelease(t *testing.T) {
	dir := t.TempDir()
	k := plugIn(t, dir)
	presses, holds, stuck := make(chan bool, 10), make(chan struct{}, 10), make(chan string, 10)
	b := &Button{Devices: filepath.Join(dir, "event*"), Key: key, Hold: 20 * time.Millisecond,
		Pressed: func(down bool) { presses <- down }, Held: func() { holds <- struct{}{} }, Stuck: func(device string) { stuck <- device },
		down: func(_ *os.File, code uint16) bool { return code == key }}
	go b.Run(t.Context())
	if device := await(t, stuck); device != filepath.Join(dir, "event0") {
		t.Errorf("got %s, want event0", device)
	}
	k.send(t, keyEvent, key, 1)
	k.send(t, keyEvent, key, 2)
	time.Sleep(5 * b.Hold)
	if len(presses) > 0 || len(holds) > 0 {
		t.Error("got pressed or held, want neither before the release")
	}
	k.send(t, keyEvent, key, 0)
	k.send(t, keyEvent, key, 1)
	if !await(t, presses) {
		t.Error("got released, want pressed")
	}
	await(t, holds)
}

func FuzzEvents(f *testing.F) {
	f.Add(make([]byte, sizeOfEvent+1))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		found := 0
		for range eventsIn(slices.Clone(data)) {
			found++
		}
		if found != len(data)/sizeOfEvent {
			t.Errorf("got %d events in %d bytes, want %d", found, len(data), len(data)/sizeOfEvent)
		}
	})
}
