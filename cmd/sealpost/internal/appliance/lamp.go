package appliance

import (
	"context"
	"fmt"
	"sync"
	"time"

	"sealpost/hal/linux/board"
	"sealpost/hal/linux/button"
	"sealpost/hal/linux/led"
)

// resetHold is how long the button is held to reset the box.
const resetHold = 10 * time.Second

// lamp shows the state of the box on the LED, and handles the button.
type lamp struct {
	*group
	facts         board.Facts
	configuration *configuration
	relay         *relayProcess
	health        *health

	mu    sync.Mutex
	shown led.Condition // only the stick, the button and the queue
}

// newLamp starts the lamp, if the board has one.
func newLamp(g *group, facts board.Facts, c *configuration, r *relayProcess, h *health) *lamp {
	l := &lamp{group: g, facts: facts, configuration: c, relay: r, health: h}
	if facts.LED == "" {
		return l
	}
	device := led.New(facts.LED)
	g.spawn(device.Run)
	const queueInterval, pollInterval = 3 * time.Second, 100 * time.Millisecond
	g.every(queueInterval, func(ctx context.Context) {
		held := r.holdsMail(ctx)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.shown.Unhealthy = held
	})
	var pattern *led.Pattern
	g.every(pollInterval, func(ctx context.Context) {
		if now := led.PatternFor(l.condition()); now != pattern {
			device.Show(ctx, now)
			pattern = now
		}
	})
	return l
}

// condition returns the state to show.
func (l *lamp) condition() led.Condition {
	factory, unreadable := l.configuration.condition()
	problem := l.health.problem()
	starting := l.relay.serving() && l.relay.starting()
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.shown
	c.Factory = factory
	c.Unhealthy = c.Unhealthy || problem != "" || unreadable
	c.Starting = starting
	return c
}

// showStick shows a pattern for a stick; nil ends it.
func (l *lamp) showStick(p *led.Pattern) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.shown.Stick = p
}

// startButton calls reset when the button is held for resetHold.
func (l *lamp) startButton(reset func()) {
	if l.facts.Button == "" {
		return
	}
	b := &button.Button{Devices: l.facts.Button, Key: l.facts.Key, Hold: resetHold,
		Pressed: func(down bool) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.shown.ButtonHeld = down
		},
		Held: reset,
		Stuck: func(device string) {
			l.journal.MachineFault("button", fmt.Errorf("it was already pressed when %s appeared, and erases nothing until it has been released: release it, or look for a short circuit", device))
		},
	}
	l.spawn(b.Run)
}
