package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// rest is how long a system has for what it does a little later, such as
// noting what was delivered, before the counters are read.
const rest = 3 * time.Second

// system is a mail relay that works on the disk. Between start and stop it is
// there to be looked at.
type system interface {
	name() string
	start(ctx context.Context, healthy bool) error
	port() int
	pid() int // of the process from which all its others descend
	rested() (bool, error)
	stop() error
}

// bench is all that is needed for the runs.
type bench struct {
	disk     *disk
	postfix  *postfix
	sealpost *sealpost
}

func setUp(program string) (*bench, error) {
	if err := settle(); err != nil {
		return nil, err
	}
	dir := os.TempDir()
	program, err := filepath.Abs(program)
	if err == nil {
		_, err = os.Stat(program)
	}
	if err != nil {
		return nil, fmt.Errorf("there is no Sealpost to measure: make it with make dist/sealpost: %w", err)
	}
	b := &bench{}
	if b.disk, err = newDisk(dir); err != nil {
		return nil, err
	}
	b.postfix = &postfix{disk: b.disk, dir: filepath.Join(dir, "postfix")}
	b.sealpost, err = newSealpost(program, filepath.Join(dir, "sealpost"), b.disk)
	return b, err
}

func (b *bench) close() { _ = b.sealpost.close() }

// figures are what a run came to.
type figures struct {
	rate           float64 // messages accepted a second
	bytes, flushes float64 // that reached the disk, per message
	memory         int64   // peak of the proportional set size, in bytes
	highWater      float64 // the kernel's own peak of a single process, in bytes
	cpu            time.Duration
}

// compare does each run with both systems.
func (b *bench) compare(ctx context.Context, o options) error {
	runs := works(o)
	if len(runs) > 0 {
		printHead()
	}
	for _, w := range runs {
		var both [2]figures
		for i, s := range []system{b.postfix, b.sealpost} {
			var err error
			if both[i], err = b.run(ctx, s, w); err != nil {
				return fmt.Errorf("%s, %s: %w", s.name(), w, err)
			}
		}
		printRun(w, both[0], both[1])
	}
	if len(runs) > 0 {
		footnotes()
	}
	return nil
}

// run starts a system on an empty disk and measures it.
func (b *bench) run(ctx context.Context, s system, w work) (f figures, err error) {
	if err := b.disk.empty(); err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	if err := s.start(ctx, w.healthy); err != nil {
		return f, err
	}
	// The first message of each client finds processes and connections made.
	if err := w.send(ctx, s.port(), w.clients); err != nil {
		return f, err
	}
	if err := await(ctx, s.name()+" is at rest", s.rested); err != nil {
		return f, err
	}
	return b.measured(ctx, s, w)
}

// measured sends the load and tells what it cost.
func (b *bench) measured(ctx context.Context, s system, w work) (f figures, err error) {
	before, err := b.disk.settled()
	if err != nil {
		return f, err
	}
	usedBefore, err := cpu(s.pid())
	if err != nil {
		return f, err
	}
	peak := watch(s.pid())
	begun := time.Now()
	sendError := w.send(ctx, s.port(), w.messages)
	took := time.Since(begun)
	f.memory, err = peak()
	if err := errors.Join(sendError, err, b.atRest(ctx, s)); err != nil {
		return f, err
	}
	if f.highWater, err = highWater(s.pid()); err != nil {
		return f, err
	}
	used, err := cpu(s.pid())
	if err != nil {
		return f, err
	}
	after, err := b.disk.settled()
	reached, n := after.since(before), float64(w.messages)
	f.rate = n / took.Seconds()
	f.bytes, f.flushes = float64(reached.bytes)/n, float64(reached.flushes)/n
	f.cpu = (used - usedBefore) / time.Duration(w.messages)
	return f, err
}

// atRest waits until a system has done what the load gave it to do.
func (b *bench) atRest(ctx context.Context, s system) error {
	if err := await(ctx, s.name()+" is at rest", s.rested); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(rest):
		return nil
	}
}
