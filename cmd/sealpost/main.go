// Command sealpost is the box's program: the mail relay, and the commands that
// set it up and look into it. It only wires the packages together.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit statuses, the same for every command.
const (
	exitDone = iota
	exitFailed
	exitUsage
)

func main() {
	args := os.Args[1:]
	if os.Getpid() == 1 && len(args) == 0 {
		args = []string{"init"}
	}
	os.Exit(run(context.Background(), args, os.Stdin, os.Stdout, os.Stderr))
}

// untilStopped gives a context that ends when an operator asks the program to;
// who asks twice does not want to wait.
func untilStopped(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// run carries out one command line and gives the exit status.
func run(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) int {
	root := command()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errs)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	fmt.Fprintln(errs, "sealpost:", cure(err))
	if usage := (*usageError)(nil); errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailed
}

// usageError is the error of a command line that cannot be carried out.
type usageError struct{ err error }

func (u *usageError) Error() string { return u.err.Error() + " (see sealpost --help)" }
func (u *usageError) Unwrap() error { return u.err }

// options are what every command takes.
type options struct {
	config string // empty: the settings lie in the state
	state  string
	json   bool
	// What a board knows of itself goes before what the settings say.
	tpm     string
	control string
}

func command() *cobra.Command {
	o := &options{}
	root := group("sealpost", "A mail relay for Microsoft 365 whose key stays in the TPM")
	root.SilenceErrors, root.SilenceUsage = true, true
	root.CompletionOptions.DisableDefaultCmd = true
	root.PersistentFlags().StringVar(&o.config, "config", "sealpost.toml", "the settings `file`; empty: those in the state")
	root.PersistentFlags().StringVar(&o.state, "state", "", "the state `file` or block device, instead of the settings' state.path")
	root.PersistentFlags().StringVar(&o.tpm, "tpm", "", "the TPM's `address`, instead of the settings' keys.tpm")
	root.PersistentFlags().StringVar(&o.control, "control", "", "the control `socket`, instead of the settings' control.socket")
	root.PersistentFlags().BoolVar(&o.json, "json", false, "print JSON")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	root.AddCommand(relayCommand(o), certificateCommand(o), configCommand(o), journalCommand(o), queueCommand(o), spoolCommand(o), stateCommand(o), tpmCommand(o), versionCommand(o), initCommand(), applyCommand(o), stickCommand(o), checkCommand(o), probeCommand(o), sendTestCommand(o), consoleCommand(o), tenantCommand(o))
	return root
}

// group makes a command that has only subcommands.
func group(use, short string) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: cobra.ArbitraryArgs, RunE: func(c *cobra.Command, args []string) error {
		if len(args) > 0 {
			return &usageError{fmt.Errorf("%s has no command %q", c.CommandPath(), args[0])}
		}
		_ = c.Help()
		return &usageError{fmt.Errorf("%s needs a command", c.CommandPath())}
	}}
}

// leaf makes a command that does something with exactly n arguments.
func leaf(use, short string, n int, do func(c *cobra.Command, args []string) error) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, RunE: do, Args: func(c *cobra.Command, args []string) error {
		if err := cobra.ExactArgs(n)(c, args); err != nil {
			return &usageError{err}
		}
		return nil
	}}
}
