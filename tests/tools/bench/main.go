// Command bench holds Sealpost against Postfix: the same load on the same file
// system, one after the other, with what each took from the machine.
//
// It knows how the two are set up and what the kernel counts. It must not look
// into either: Sealpost is the built program, as a person would run it.
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

// options are what a person may choose.
type options struct {
	program  string // the sealpost file
	messages int    // of 4 KiB in each run
	only     string // part of the names of the runs to do
}

func main() {
	var o options
	flag.StringVar(&o.program, "program", "dist/sealpost", "the sealpost `file`")
	flag.IntVar(&o.messages, "messages", 2000, "how many messages of 4 KiB each run sends; of 1 MiB, a tenth of that")
	flag.StringVar(&o.only, "only", "", "do only the runs with `words` in their names")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	act := outside
	if isInside() {
		act = func(ctx context.Context) error { return measure(ctx, o) }
	}
	if err := act(ctx); err != nil {
		// What went wrong inside was said there.
		if ended := new(insideFailed); !errors.As(err, &ended) {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
		os.Exit(1)
	}
}

// measure does the chosen runs and prints what came of them.
func measure(ctx context.Context, o options) error {
	b, err := setUp(o.program)
	if err != nil {
		return err
	}
	defer b.close()
	introduce(b.disk, o)
	if err := b.compare(ctx, o); err != nil {
		return err
	}
	return b.recover(ctx, o)
}
