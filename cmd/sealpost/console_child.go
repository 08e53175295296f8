package main

import (
	"bytes"
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

	"sealpost/provisioning/candidate"
	"sealpost/provisioning/identity"
	"sealpost/provisioning/state"
	"sealpost/relay/control"
)

const (
	// standardInput is where a command finds what is given to it, without a file.
	standardInput = "/proc/self/fd/0"
	// childPatience is how long a command may take: each check of a preflight
	// has its own limit.
	childPatience = 7 * time.Minute
	// largestAnswer bounds what a command or the relay may say, in bytes.
	largestAnswer = 4 << 20
)

// command is a command line of this program about this box. The settings are
// those in the state, unless more is said behind.
func (b consoleBox) command(args ...string) []string {
	return append(args, "--config=", "--state="+b.options.state, "--tpm="+b.options.tpm, "--control="+b.options.control)
}

// child is a command of this program in a process of its own.
func child(ctx context.Context, args []string, input io.Reader) (*exec.Cmd, error) {
	const mercy = 5 * time.Second
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("looking for this program: %w", err)
	}
	c := exec.CommandContext(ctx, self, args...)
	c.Stdin, c.WaitDelay = input, mercy
	return c, nil
}

// apply checks or commits a candidate in a process that takes the key's memory
// with it.
func (b consoleBox) apply(ctx context.Context, wanted candidate.Candidate, flags ...string) error {
	text, err := json.Marshal(wanted)
	if err != nil {
		return fmt.Errorf("writing the candidate: %w", err)
	}
	defer clear(text)
	answer, err := output(ctx, append(b.command("apply", "--json"), flags...), bytes.NewReader(text))
	var outcome applied
	if json.Unmarshal(answer, &outcome) == nil && len(outcome.Faults) > 0 {
		return inConsoleWords(errors.New(strings.Join(outcome.Faults, "\n")))
	}
	return err
}

// textOf gives what a command prints.
func textOf(ctx context.Context, args []string, input string) (string, error) {
	answer, err := output(ctx, args, strings.NewReader(input))
	return string(answer), err
}

func output(ctx context.Context, args []string, input io.Reader) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, childPatience)
	defer cancel()
	c, err := child(ctx, args, input)
	if err != nil {
		return nil, err
	}
	var answer, words bounded
	c.Stdout, c.Stderr = &answer, &words
	err = c.Run()
	return answer.text, failure(ctx, err, words.text)
}

// linesOf gives each JSON value that a command prints as soon as it does, and
// at last its error.
func linesOf[T any](ctx context.Context, args []string, input string) iter.Seq2[T, error] {
	return linesWithin[T](ctx, childPatience, args, input)
}

// linesWithin is linesOf for a command that takes another time.
func linesWithin[T any](ctx context.Context, patience time.Duration, args []string, input string) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var nothing T
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		c, err := child(ctx, args, strings.NewReader(input))
		if err != nil {
			yield(nothing, err)
			return
		}
		var words bounded
		c.Stderr = &words
		out, err := c.StdoutPipe()
		if err == nil {
			err = c.Start()
		}
		if err != nil {
			yield(nothing, fmt.Errorf("starting %s: %w", args[0], err))
			return
		}
		for decoder := json.NewDecoder(io.LimitReader(out, largestAnswer)); ; {
			var value T
			if decoder.Decode(&value) != nil {
				break // the exit status says how it ended
			}
			if !yield(value, nil) {
				cancel()
				_ = c.Wait()
				return
			}
		}
		if err := failure(ctx, c.Wait(), words.text); err != nil {
			yield(nothing, err)
		}
	}
}

// bounded keeps the beginning of what is written to it.
type bounded struct{ text []byte }

func (b *bounded) Write(p []byte) (int, error) {
	b.text = append(b.text, p[:min(len(p), largestAnswer-len(b.text))]...)
	return len(p), nil
}

// failure is the error of a command, in its own words.
func failure(ctx context.Context, err error, words []byte) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return errors.New("it did not end in time: try again, or restart the box")
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case len(words) == 0:
		return err
	}
	return inConsoleWords(errors.New(strings.TrimPrefix(strings.TrimSpace(string(words)), "sealpost: ")))
}

// consoleWords say what to do on a console, where other words name a command.
var consoleWords = strings.NewReplacer(
	identity.ErrPending.Error(), "a certificate was requested on this box already and has not come yet: paste it, or make another request and give that one up",
	identity.ErrNoRequest.Error(), "no certificate was requested on this box: paste a PFX, or make a request first",
	identity.ErrNone.Error(), "this box has no client certificate yet: paste a PFX, or make a request",
	state.ErrDamaged.Error(), "both copies of the settings are damaged: hold the box's button for 10 seconds to reset it, and set it up again; if this comes back, replace the flash",
	state.ErrNewer.Error(), "the settings were written by a newer Sealpost: install that version again, or hold the box's button for 10 seconds to reset it, and set it up again",
	"sealpost certificate show", "certificate in the menu",
	"sealpost certificate import", "certificate in the menu",
	"sealpost check", "preflight in the menu",
	"sealpost spool format --yes", "factory reset in the menu",
	"sealpost state erase --yes", "factory reset in the menu",
	"sealpost tenant certificate --replace", "factory reset in the menu",
	"sealpost tenant secret", "tenant in the menu",
	"sealpost tenant login", "tenant in the menu",
	"sealpost tenant script", "tenant in the menu",
	"sealpost tenant verify", "tenant in the menu",
	control.ErrNoRelay.Error(), "the relay does not answer: wait a minute, then see the status and the logs",
)

func inConsoleWords(err error) error { return errors.New(consoleWords.Replace(err.Error())) }
