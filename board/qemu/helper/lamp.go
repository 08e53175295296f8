package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const (
	lampFiles = "/sys/class/leds/*capslock/brightness"
	// lampPeriod is much shorter than any lamp pattern.
	lampPeriod = 20 * time.Millisecond
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
	var shown []byte
	for ; ; time.Sleep(lampPeriod) {
		// The keyboard appears late and may be unplugged.
		files, _ := filepath.Glob(lampFiles)
		if len(files) == 0 {
			continue
		}
		now, err := os.ReadFile(files[0])
		if err != nil || bytes.Equal(now, shown) {
			continue
		}
		shown = now
		if _, err := port.WriteString(uptime() + " " + string(now)); err != nil {
			return
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
