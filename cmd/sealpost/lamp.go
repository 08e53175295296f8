package main

import (
	"context"
	"time"

	"sealpost/hal/linux/button"
	"sealpost/hal/linux/led"
	"sealpost/relay/dispatch"
)

// resetHold is how long the button is held to reset the box.
const resetHold = 10 * time.Second

// startLamp has the lamp say how the box is.
func (m *machine) startLamp(ctx context.Context) {
	if m.facts.LED == "" {
		return
	}
	lamp := led.New(m.facts.LED)
	go lamp.Run(ctx)
	go m.followQueue(ctx)
	go func() {
		const glance = 100 * time.Millisecond
		var shown *led.Pattern
		for ticker := time.NewTicker(glance); ctx.Err() == nil; <-ticker.C {
			if now := led.Judge(m.condition()); now != shown {
				lamp.Show(ctx, now)
				shown = now
			}
		}
	}()
}

// condition is what the lamp is to tell.
func (m *machine) condition() led.Condition {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.lamp
	c.Factory = m.settings == nil
	c.Unwell = c.Unwell || m.unwell != "" || m.unreadable
	if m.serving == nil {
		return c
	}
	select {
	case <-m.served:
	default:
		c.Starting = true
	}
	return c
}

// followQueue asks now and then whether mail is held.
func (m *machine) followQueue(ctx context.Context) {
	const period = 3 * time.Second
	for ticker := time.NewTicker(period); ctx.Err() == nil; <-ticker.C {
		held := m.mailIsHeld(ctx)
		m.mu.Lock()
		m.lamp.Unwell = held
		m.mu.Unlock()
	}
}

// mailIsHeld tells whether the relay answers that it holds mail back; one that
// does not answer is judged elsewhere.
func (m *machine) mailIsHeld(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*healthPatience)
	defer cancel()
	status, err := ask[dispatch.Status](ctx, relaySocket, "queue/list")
	return err == nil && (status.Held != "" || len(status.Accounts) > 0 || status.Spool != "")
}

// startButton resets the box when its button is held for long.
func (m *machine) startButton(ctx context.Context) {
	if m.facts.Button == "" {
		return
	}
	b := &button.Button{Devices: m.facts.Button, Key: m.facts.Key, Hold: resetHold,
		Pressed: func(down bool) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.lamp.ButtonHeld = down
		},
		Held: func() { m.try("reset", m.reset(ctx, "button")) },
	}
	go b.Run(ctx)
}
