package main

import (
	"errors"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// enabled is the kernel's last line that its console did not show.
const enabled = "console [hvc0] enabled"

// copyEarlyLog gives the port "early" what the kernel had to say before the
// driver of its console was loaded, which the driver leaves out.
func copyEarlyLog() {
	device, err := findPort("early")
	if err != nil {
		return // QEMU was started without anybody to read it
	}
	records, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(records)
	var early strings.Builder
	const longest = 8192 // CONSOLE_EXT_LOG_MAX
	for record := make([]byte, longest); !strings.Contains(early.String(), enabled); {
		n, err := unix.Read(records, record)
		if errors.Is(err, unix.EPIPE) {
			continue // it was overwritten before it was read
		}
		if err != nil {
			break
		}
		early.WriteString(line(string(record[:n])))
	}
	_ = os.WriteFile(device, []byte(early.String()), 0)
}

// line is a record of /dev/kmsg, "priority,sequence,microseconds,flags;text",
// as the kernel's console shows it.
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
