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
	// standardInput passes data to a command without a file.
	standardInput = "/proc/self/fd/0"
	// childTimeout is how long a command may take: each check of a preflight has
	// its own limit.
	childTimeout = 7 * time.Minute
	// signInTimeout is longer than any code lives.
	signInTimeout = 40 * time.Minute
	// relayTimeout is how long a call of the relay may take.
	relayTimeout = time.Minute
	// maxOutput bounds what a command may print, in bytes.
	maxOutput = 4 << 20
	// killDelay is how long a killed command may hold its output open.
	killDelay = 5 * time.Second
)

// command is a command line of this program about this box, which prints JSON
// and faults in JSON. It uses the settings in the state unless a later argument
// says otherwise.
func (l Local) command(args ...string) []string {
	return append(args, "--json", "--config=", "--state="+l.Options.State, "--tpm="+l.Options.TPM, "--control="+l.Options.Control)
}

// one returns the value that a command prints.
func one[T any](ctx context.Context, args []string, input string) (value T, err error) {
	for value, err = range values[T](ctx, childTimeout, args, input) {
	}
	return value, err
}

// values yields each JSON value as soon as the command prints it, and at
// last its error.
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

// run runs a command and has next decode each value that it prints, until there
// is none or next wants no more: then the command is ended, without an error.
func run(ctx context.Context, timeout time.Duration, args []string, input io.Reader, next func(decode func(any) error) (more bool)) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("looking for this program: %w", err)
	}
	child := exec.CommandContext(ctx, self, args...)
	var words bounded
	child.Stdin, child.Stderr, child.WaitDelay = input, &words, killDelay
	out, err := child.StdoutPipe()
	if err == nil {
		err = child.Start()
	}
	if err != nil {
		return fmt.Errorf("starting %s: %w", args[0], err)
	}
	ended := false // its output is; the exit status says how
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
	return failure(ctx, child.Wait(), words.text)
}

// bounded keeps the beginning of what is written to it.
type bounded struct{ text []byte }

func (b *bounded) Write(p []byte) (int, error) {
	b.text = append(b.text, p[:min(len(p), maxOutput-len(b.text))]...)
	return len(p), nil
}

// failure is the error of a command, with the codes of its faults.
func failure(ctx context.Context, err error, words []byte) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return errors.New("it did not end in time: try again, or restart the box")
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	if said := fault.Decode(words); said != nil {
		return said
	}
	return err
}
