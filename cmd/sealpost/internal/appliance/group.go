package appliance

import (
	"context"
	"sync"
	"time"

	"sealpost/relay/journal"
)

// group owns the goroutines of PID 1: it starts each one, and each ends with its
// context. Nothing else in this package starts a goroutine.
type group struct {
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
	journal *journal.Journal
}

func newGroup(ctx context.Context, j *journal.Journal) *group {
	g := &group{journal: j}
	g.ctx, g.cancel = context.WithCancel(ctx)
	return g
}

// spawn runs a component until it returns or the group is stopped.
func (g *group) spawn(run func(ctx context.Context)) { g.running.Go(func() { run(g.ctx) }) }

// keep restarts a component when it exits, and logs each new error once.
func (g *group) keep(component string, run func(ctx context.Context) error) {
	const pause = 5 * time.Second
	g.spawn(func(ctx context.Context) {
		var last string
		for ctx.Err() == nil {
			if err := run(ctx); err != nil && ctx.Err() == nil && err.Error() != last {
				last = err.Error()
				g.logFault(component, err)
			}
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
		}
	})
}

// every calls poll at once and then once per period.
func (g *group) every(period time.Duration, poll func(ctx context.Context)) {
	g.spawn(func(ctx context.Context) {
		ticker := time.NewTicker(period)
		defer ticker.Stop()
		for {
			poll(ctx)
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
		}
	})
}

// logFault logs an error after which the box continues.
func (g *group) logFault(component string, err error) {
	if err != nil {
		g.journal.MachineFault(component, err)
	}
}

// stop stops all components and waits for them.
func (g *group) stop() {
	g.cancel()
	g.running.Wait()
}
