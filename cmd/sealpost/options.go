package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"sealpost/cmd/sealpost/internal/wire"
	"sealpost/provisioning/candidate"
)

// usageError is the error of an invalid command line.
type usageError struct{ err error }

func (u *usageError) Error() string { return u.err.Error() + " (see sealpost --help)" }
func (u *usageError) Unwrap() error { return u.err }

// options are the flags of every command.
type options struct {
	wire.Options
	json bool
}

// group makes a command that has only subcommands.
func group(use, short string) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: cobra.ArbitraryArgs, RunE: func(c *cobra.Command, args []string) error {
		if len(args) > 0 {
			unknown := fmt.Errorf("%s has no command %q", c.CommandPath(), args[0])
			if c.SuggestionsMinimumDistance = 2; len(c.SuggestionsFor(args[0])) > 0 {
				unknown = fmt.Errorf("%w: did you mean %q?", unknown, c.SuggestionsFor(args[0])[0])
			}
			return &usageError{unknown}
		}
		_ = c.Help()
		return &usageError{fmt.Errorf("%s needs a command", c.CommandPath())}
	}}
}

// leaf makes a command that takes exactly n arguments, none or one, which must
// not be empty. use names the argument.
func leaf(use, short string, n int, do func(c *cobra.Command, args []string) error) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, RunE: do, Args: func(c *cobra.Command, args []string) error {
		switch {
		case n == 0 && len(args) > 0:
			return &usageError{fmt.Errorf("%s takes no argument, but got %q", c.CommandPath(), args[0])}
		case len(args) != n || slices.Contains(args, ""):
			return &usageError{fmt.Errorf("%s takes exactly 1 argument: %s", c.CommandPath(), strings.Fields(use)[1])}
		}
		return nil
	}}
}

// tpmTimeout limits how long a command waits for a TPM; the slowest chips take
// several seconds to create an RSA key.
const tpmTimeout = 2 * time.Minute

// openBox opens the box, and says so if it created the state.
func (o *options) openBox(c *cobra.Command, open wire.Opener) (*wire.Box, error) {
	b, err := o.Open(open)
	if err == nil && b.Created {
		fmt.Fprintf(c.ErrOrStderr(), "created %s, %d MiB, for the settings, keys and undelivered mail\n", b.Settings.State.Path, b.Device.Size()>>20)
	}
	return b, err
}

// withBox opens the box for one command with a limit on the TPM's time.
func (o *options) withBox(c *cobra.Command, open wire.Opener, do func(context.Context, *wire.Box) error) error {
	b, err := o.openBox(c, open)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.Context(), tpmTimeout)
	defer cancel()
	return errors.Join(do(ctx, b), b.Close())
}

// commit commits a candidate to the box, and prints done.
func (o *options) commit(c *cobra.Command, open wire.Opener, change candidate.Candidate, done fmt.Stringer) error {
	return o.withBox(c, open, func(ctx context.Context, b *wire.Box) error {
		if err := b.Checker().Commit(ctx, change); err != nil {
			return err
		}
		return o.print(c.OutOrStdout(), done)
	})
}

// print writes a value as JSON or as text.
func (o *options) print(w io.Writer, value fmt.Stringer) error {
	if !o.json {
		_, err := fmt.Fprintln(w, strings.TrimSuffix(value.String(), "\n"))
		return err
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}

// printLine prints one of several values, as JSON one a line.
func (o *options) printLine(w io.Writer, value fmt.Stringer) error {
	if o.json {
		return json.NewEncoder(w).Encode(value)
	}
	_, err := fmt.Fprintln(w, value)
	return err
}

// untilStopped returns a context that ends at SIGINT or SIGTERM; a second
// signal kills the program.
func untilStopped(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}
