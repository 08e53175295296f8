package kernel

import (
	"bytes"
	"fmt"
	"io"
	"os"
)

// longestRecord is what the kernel takes as one record, in bytes.
const longestRecord = 900

// UnlimitLog turns off the kernel's rate limit for log lines of PID 1. If the
// kernel's command line sets printk.devkmsg, this cannot be changed, and lines may
// be lost.
func UnlimitLog() error {
	const path, unlimited = "/proc/sys/kernel/printk_devkmsg", "on\n" // the value must end in a newline
	if now, err := os.ReadFile(path); err == nil && string(now) == unlimited {
		return nil // writing it again is refused where the command line has set it
	}
	return set(path, unlimited)
}

// OpenLog returns a writer of the kernel's own log, which is in RAM and goes to
// the kernel's console, if it has one. Each line becomes a record, cut at the
// kernel's limit.
func OpenLog() (io.WriteCloser, error) {
	file, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("opening the kernel's log: %w", err)
	}
	return kernelLog{file}, nil
}

type kernelLog struct{ *os.File }

func (l kernelLog) Write(p []byte) (int, error) {
	for line := range bytes.Lines(p) {
		if line = bytes.TrimRight(line, "\n"); len(line) == 0 {
			continue
		}
		// Without its newline the kernel shows a record only with the next one
		// comes: it might yet be continued.
		record := append(bytes.Clone(line[:min(len(line), longestRecord)]), '\n')
		if _, err := l.File.Write(record); err != nil {
			return 0, fmt.Errorf("writing to the kernel's log: %w", err)
		}
	}
	return len(p), nil
}
