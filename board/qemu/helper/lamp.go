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
	// lampPeriod is much shorter than any lamp pattern.
	lampPeriod = 30 * time.Millisecond
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
	for shown := ""; ; time.Sleep(lampPeriod) {
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
// until the lamp is unplugged. An error is from the port.
func followLamp(file, shown string, port *os.File) (string, error) {
	lamp, err := unix.Open(file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return shown, nil
	}
	defer unix.Close(lamp)
	const maxLength = 16
	for line := make([]byte, maxLength); ; time.Sleep(lampPeriod) {
		n, err := unix.Pread(lamp, line, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return shown, nil
		}
		if now := string(line[:n]); now != shown {
			shown = now
			if _, err := port.WriteString(uptime() + " " + now); err != nil {
				return shown, err
			}
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
