package main

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const (
	lampFiles = "/sys/class/leds/*capslock/brightness"
	// lampSearch is the time between two searches for the lamp.
	lampSearch = 50 * time.Millisecond
)

// mirrorLamp writes a line for every change of the lamp: the seconds since the
// kernel started and the brightness, such as "3.141 1".
func mirrorLamp() {
	device, err := findPort("lamp")
	if err != nil {
		return // QEMU has no such port
	}
	port, err := os.OpenFile(device, os.O_WRONLY, 0)
	if err != nil {
		return
	}
	defer port.Close()
	for shown := ""; ; time.Sleep(lampSearch) {
		// The keyboard appears late and may be unplugged.
		files, _ := filepath.Glob(lampFiles)
		if len(files) == 0 {
			continue
		}
		if shown, err = followLamp(files[0], shown, port); err != nil {
			return
		}
	}
}

// followLamp writes each change of one lamp, starting from the last brightness shown,
// until the lamp is unplugged. An error is from the port. It waits for writes to the
// file rather than reading it again and again, which would keep an idle box busy.
func followLamp(file, shown string, port *os.File) (string, error) {
	writes, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		return shown, nil
	}
	defer unix.Close(writes)
	if _, err := unix.InotifyAddWatch(writes, file, unix.IN_MODIFY|unix.IN_DELETE_SELF); err != nil {
		return shown, nil
	}
	const maxEvents = 4096
	for events := make([]byte, maxEvents); ; {
		now, err := os.ReadFile(file)
		if err != nil {
			return shown, nil
		}
		if string(now) != shown {
			shown = string(now)
			if _, err := port.WriteString(uptime() + " " + shown); err != nil {
				return shown, err
			}
		}
		if _, err := unix.Read(writes, events); err != nil && !errors.Is(err, unix.EINTR) {
			return shown, nil
		}
	}
}

func uptime() string {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	const millisecond = 1e6
	seconds := float64(now.Nano()/millisecond) / 1000
	return strconv.FormatFloat(seconds, 'f', 3, 64)
}
