package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// settleTime is the time for delayed writes, such as the record of a delivery, before
// the counters are read.
const settleTime = 3 * time.Second

// system is a mail relay with its queue on the disk. Its process and port are valid
// between start and stop.
type system interface {
	name() string
	start(ctx context.Context, healthy bool) error
	port() int
	pid() int            // its first process
	idle() (bool, error) // no delivery is in progress
	stop() error
}

// bench holds the disk and the systems.
type bench struct {
	disk     *disk
	postfix  *postfix
	earlier  *sealpost // nil if there is none to compare with
	sealpost *sealpost
}

// setUp prepares the systems; earlier may be empty.
func setUp(program, earlier string) (b *bench, err error) {
	if err := setUpNamespaces(); err != nil {
		return nil, err
	}
	dir := os.TempDir()
	b = &bench{}
	if b.disk, err = newDisk(dir); err != nil {
		return nil, err
	}
	b.postfix = &postfix{disk: b.disk, dir: filepath.Join(dir, "postfix")}
	if b.postfix.certificate, err = serverCertificate(); err != nil {
		return nil, err
	}
	if earlier != "" {
		if b.earlier, err = newSealpost("Sealpost, earlier", earlier, filepath.Join(dir, "earlier"), b.disk); err != nil {
			return b, err
		}
	}
	b.sealpost, err = newSealpost("Sealpost", program, filepath.Join(dir, "sealpost"), b.disk)
	return b, err
}

func (b *bench) close() {
	for _, s := range []*sealpost{b.earlier, b.sealpost} {
		if s != nil {
			_ = s.close()
		}
	}
}

// systems returns the systems in the order in which they run.
func (b *bench) systems() []system {
	if b.earlier == nil {
		return []system{b.postfix, b.sealpost}
	}
	return []system{b.postfix, b.earlier, b.sealpost}
}

// results are the measurements of a run.
type results struct {
	rate           float64 // messages accepted per second
	bytes, flushes float64 // that reached the disk, per message
	memory         int64   // peak of the proportional set size, in bytes
	highWater      float64 // the kernel's peak of a single process, in bytes
	cpu            time.Duration
}

// compare runs each load with each system.
func (b *bench) compare(ctx context.Context, o options) error {
	runs := selectedRuns(o)
	if len(runs) > 0 {
		printHeader()
	}
	for _, r := range runs {
		fmt.Println(r)
		var reference, last results
		for i, s := range b.systems() {
			var err error
			if last, err = b.run(ctx, s, r); err != nil {
				return fmt.Errorf("%s, %s: %w", s.name(), r, err)
			}
			if i == 0 {
				reference = last
			}
			printResults(s.name(), last)
		}
		printRatios("Sealpost / Postfix", last, reference)
	}
	if len(runs) > 0 {
		printFootnotes()
	}
	return nil
}

// run starts a system on an empty disk and measures it.
func (b *bench) run(ctx context.Context, s system, r run) (res results, err error) {
	if err := b.disk.empty(); err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	if err := s.start(ctx, r.healthy); err != nil {
		return res, err
	}
	// Warm up: one message per client starts processes and connections.
	if err := r.send(ctx, s.port(), r.clients); err != nil {
		return res, err
	}
	if err := await(ctx, s.name()+" is idle", s.idle); err != nil {
		return res, err
	}
	return b.measure(ctx, s, r)
}

// measure sends the load and measures its cost.
func (b *bench) measure(ctx context.Context, s system, r run) (res results, err error) {
	before, err := b.disk.syncedTraffic()
	if err != nil {
		return res, err
	}
	usedBefore, err := cpu(s.pid())
	if err != nil {
		return res, err
	}
	peak := samplePeakMemory(s.pid())
	start := time.Now()
	sendError := r.send(ctx, s.port(), r.messages)
	took := time.Since(start)
	res.memory, err = peak()
	if err := errors.Join(sendError, err, b.awaitIdle(ctx, s)); err != nil {
		return res, err
	}
	if res.highWater, err = highWater(s.pid()); err != nil {
		return res, err
	}
	used, err := cpu(s.pid())
	if err != nil {
		return res, err
	}
	after, err := b.disk.syncedTraffic()
	written, n := after.minus(before), float64(r.messages)
	res.rate = n / took.Seconds()
	res.bytes, res.flushes = float64(written.bytes)/n, float64(written.flushes)/n
	res.cpu = (used - usedBefore) / time.Duration(r.messages)
	return res, err
}

// awaitIdle waits until a system has processed the load.
func (b *bench) awaitIdle(ctx context.Context, s system) error {
	if err := await(ctx, s.name()+" is idle", s.idle); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(settleTime):
		return nil
	}
}
