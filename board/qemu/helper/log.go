package main

import (
	"errors"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// copyLog copies the kernel log to the virtio port "log". A kernel console would block
// writers, and omit records from before its driver was loaded.
func copyLog() {
	device, err := findPort("log")
	if err != nil {
		return // QEMU has no such port
	}
	port, err := unix.Open(device, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	records, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	const maxLength = 8192 // CONSOLE_EXT_LOG_MAX
	for record := make([]byte, maxLength); ; {
		n, err := unix.Read(records, record)
		if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.EINTR) {
			continue // it was overwritten before it was read
		}
		if err != nil {
			return
		}
		_, _ = unix.Write(port, []byte(line(string(record[:n]))))
	}
}

// line formats a record of /dev/kmsg, "priority,sequence,microseconds,flags;text", as
// the kernel console does.
func line(record string) string {
	prefix, text, _ := strings.Cut(record, ";")
	text, _, _ = strings.Cut(text, "\n")
	fields := strings.Split(prefix, ",")
	if len(fields) < 3 {
		return ""
	}
	microseconds, _ := strconv.ParseUint(fields[2], 10, 64)
	const second = 1_000_000
	fraction := strconv.FormatUint(second+microseconds%second, 10)[1:]
	seconds := strconv.FormatUint(microseconds/second, 10)
	const width = 5
	seconds = strings.Repeat(" ", max(0, width-len(seconds))) + seconds
	return "[" + seconds + "." + fraction + "] " + text + "\n"
}
