package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"go.bug.st/serial"

	"sealpost/cmd/sealpost/internal/operator"
	"sealpost/provisioning/console"
)

// standardStreams selects standard input and output instead of a serial line.
const standardStreams = "-"

func consoleCommand(o *options) *cobra.Command {
	var line string
	c := leaf("console --line DEVICE", "Talk with a technician on a serial line", 0, func(c *cobra.Command, _ []string) error {
		if o.State == "" {
			return &usageError{errors.New("name the state with --state")}
		}
		ctx, stop := untilStopped(c.Context())
		defer stop()
		dialogue := console.New(operator.Local{Options: o.Options, By: "the console"})
		if line == standardStreams {
			err := dialogue.Run(ctx, streams{c.InOrStdin(), c.OutOrStdout()})
			if errors.Is(err, console.ErrGone) {
				return nil // the end of the input
			}
			return err
		}
		return serve(ctx, dialogue, line)
	})
	c.Flags().StringVar(&line, "line", "", "the serial `device`; - for standard input and output")
	_ = c.MarkFlagRequired("line")
	c.Hidden = true
	return c
}

type streams struct {
	io.Reader
	io.Writer
}

// serve runs the console on a line that may disappear and come back, such as that
// of a USB gadget.
func serve(ctx context.Context, dialogue *console.Console, device string) error {
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
