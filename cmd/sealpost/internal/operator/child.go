package operator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"os/exec"
	"strings"
	"time"

	"sealpost/hal/fault"
)

const (
	// standardInput is the path by which a command reads its standard input.
	standardInput = "/proc/self/fd/0"
	// childTimeout limits a command; each check of a preflight also has its own
	// timeout.
	childTimeout = 7 * time.Minute
	// signInTimeout is longer than the validity of any device code.
	signInTimeout = 40 * time.Minute
	// relayTimeout limits a call to the relay.
	relayTimeout = time.Minute
	// maxOutput is the largest output of a command, in bytes.
	maxOutput = 4 << 20
	// killDelay is how long a killed command may keep its output open.
	killDelay = 5 * time.Second
)

// command returns a command line of this program for this box with output in JSON.
// It uses the settings in the state, unless a later argument overrides them.
func (l Local) command(args ...string) []string {
	return append(args, "--json", "--config=", "--state="+l.Options.State, "--tpm="+l.Options.TPM, "--control="+l.Options.Control)
}

// singleValue returns the value that a command prints.
func singleValue[T any](ctx context.Context, args []string, input string) (value T, err error) {
	for value, err = range values[T](ctx, childTimeout, args, input) {
	}
	return value, err
}

// values yields each JSON value as soon as the command prints it, and finally its
// error.
func values[T any](ctx context.Context, timeout time.Duration, args []string, input string) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		err := run(ctx, timeout, args, strings.NewReader(input), func(decode func(any) error) bool {
			var value T
			return decode(&value) == nil && yield(value, nil)
		})
		if err != nil {
			yield(*new(T), err)
		}
	}
}

// run runs a command and calls next for each value that it prints. When next
// returns false, run kills the command and returns no error.
func run(ctx context.Context, timeout time.Duration, args []string, input io.Reader, next func(decode func(any) error) (more bool)) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	child := exec.CommandContext(ctx, self, args...)
	var stderr limitedBuffer
	child.Stdin, child.Stderr, child.WaitDelay = input, &stderr, killDelay
	out, err := child.StdoutPipe()
	if err == nil {
		err = child.Start()
	}
	if err != nil {
		return fmt.Errorf("starting %s: %w", args[0], err)
	}
	ended := false // the end of the output was reached
	decoder := json.NewDecoder(io.LimitReader(out, maxOutput))
	for more := true; more; {
		more = next(func(value any) error {
			err := decoder.Decode(value)
			ended = err != nil
			return err
		})
	}
	if !ended {
		cancel()
		_ = child.Wait()
		return nil
	}
	return failure(ctx, child.Wait(), stderr.text)
}

// limitedBuffer keeps the beginning of what is written to it.
type limitedBuffer struct{ text []byte }

func (b *limitedBuffer) Write(p []byte) (int, error) {
	b.text = append(b.text, p[:min(len(p), maxOutput-len(b.text))]...)
	return len(p), nil
}

// failure is the error of a command, with the codes of its faults.
func failure(ctx context.Context, err error, stderr []byte) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return errors.New("the command did not end in time: try again, or restart the box")
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	if faults := fault.Decode(stderr); faults != nil {
		return faults
	}
	return err
}
