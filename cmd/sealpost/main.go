// Command sealpost is the mail relay, and the commands that set it up and inspect
// it. It parses command lines, calls the packages that
// do the work, and prints their results.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"sealpost/hal/fault"
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

// run runs one command line and returns the exit status.
func run(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) int {
	o := &options{}
	root := command(o)
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errs)
	root.InitDefaultCompletionCmd() // writes to the output set before
	if completion, _, err := root.Find([]string{"completion"}); err == nil {
		completion.Args, completion.RunE = root.Args, root.RunE
	}
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	usage := (*usageError)(nil)
	isUsage := errors.As(err, &usage)
	if o.json && !isUsage {
		fmt.Fprintf(errs, "%s\n", fault.Encode(err))
	} else {
		fmt.Fprintln(errs, "sealpost:", cures.Text(err))
	}
	if isUsage {
		return exitUsage
	}
	return exitFailed
}

func command(o *options) *cobra.Command {
	root := group("sealpost", "A mail relay for Microsoft 365 whose key stays in the TPM")
	root.SilenceErrors, root.SilenceUsage = true, true
	flags := root.PersistentFlags()
	flags.StringVar(&o.Config, "config", "sealpost.toml", "the settings `file`; empty for the settings stored in the state")
	flags.StringVar(&o.State, "state", "", "the state `file` or block device, instead of the settings' state.path")
	flags.StringVar(&o.TPM, "tpm", "", "the TPM's `address`, instead of the settings' keys.tpm")
	flags.StringVar(&o.Control, "control", "", "the control `socket`, instead of the settings' control.socket")
	flags.BoolVar(&o.json, "json", false, "print JSON")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	root.AddCommand(relayCommand(o), certificateCommand(o), configCommand(o), journalCommand(o), queueCommand(o), spoolCommand(o), stateCommand(o), tpmCommand(o), versionCommand(o), licensesCommand(), initCommand(), applyCommand(o), stickCommand(o), checkCommand(o), probeCommand(o), sendTestCommand(o), consoleCommand(o), tenantCommand(o), dkimCommand(o), explainCommand(o), devicesCommand(o), userCommand(o))
	return root
}
