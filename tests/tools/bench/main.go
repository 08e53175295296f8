// Command bench compares Sealpost with Postfix: the same load on the same file system,
// one after the other, with the resources that each uses.
//
// It knows how to set up both, and the counters of the kernel. It must not know their
// internals: Sealpost is the built program.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// options are the command line flags.
type options struct {
	program  string // path of sealpost
	earlier  string // path of an earlier sealpost; empty for none
	messages int    // of 4 KiB in each run
	only     string // part of the names of the runs to do
}

func main() {
	var o options
	flag.StringVar(&o.program, "program", "dist/sealpost", "the sealpost `file`")
	flag.StringVar(&o.earlier, "earlier", "", "an earlier sealpost `file`, measured in the same run")
	flag.IntVar(&o.messages, "messages", 2000, "how many messages of 4 KiB each run sends; of 1 MiB, a tenth of that")
	flag.StringVar(&o.only, "only", "", "do only the runs with this `text` in their names")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	act := runInNamespaces
	if isInside() {
		act = func(ctx context.Context) error { return measure(ctx, o) }
	}
	if err := act(ctx); err != nil {
		// The run in the namespaces has printed its error.
		if ended := new(childFailed); !errors.As(err, &ended) {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
		os.Exit(1)
	}
}

// measure does the selected runs and prints the results.
func measure(ctx context.Context, o options) error {
	b, err := setUp(o.program, o.earlier)
	if err != nil {
		return err
	}
	defer b.close()
	printIntroduction(b.disk, o)
	if err := b.compare(ctx, o); err != nil {
		return err
	}
	return b.recover(ctx, o)
}
