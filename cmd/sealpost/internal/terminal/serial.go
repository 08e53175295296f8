package terminal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"syscall"
	"time"

	"go.bug.st/serial"
)

// Dialogue is a dialogue on a line. Run returns when the line fails.
type Dialogue interface {
	Run(ctx context.Context, line io.ReadWriter) error
}

// Serve runs a dialogue on a serial line that may disappear and come back, such as that
// of a USB gadget.
func Serve(ctx context.Context, dialogue Dialogue, device string) error {
	const interval = time.Second
	for found := false; ctx.Err() == nil; {
		port, err := serial.Open(device, &serial.Mode{BaudRate: 115200, DataBits: 8, Parity: serial.NoParity, StopBits: serial.OneStopBit})
		if err != nil && !found && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("opening %s as a serial line: %w", device, err)
		}
		if err == nil {
			found = true
			line := &serialLine{Port: port}
			_ = dialogue.Run(ctx, line)
			_ = port.Close()
			if line.stuck {
				return fmt.Errorf("%s no longer accepts output", device)
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(interval):
		}
	}
	return nil
}

// serialLine is a serial line whose other end may stop reading.
type serialLine struct {
	serial.Port
	stuck bool // a write is blocked, and ends only when the process exits
}

// Write writes all of p, or fails after a timeout.
func (l *serialLine) Write(p []byte) (int, error) {
	const timeout = time.Minute
	written := make(chan error, 1)
	go func(rest []byte) {
		for len(rest) > 0 {
			n, err := l.Port.Write(rest)
			if err != nil && !errors.Is(err, syscall.EINTR) {
				written <- err
				return
			}
			rest = rest[n:]
		}
		written <- nil
	}(bytes.Clone(p))
	select {
	case err := <-written:
		return len(p), err
	case <-time.After(timeout):
		l.stuck = true
		return 0, errors.New("nothing reads from the line")
	}
}
