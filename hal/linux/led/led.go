// Package led shows the state of the box on its lamp, in patterns.
//
// It knows patterns, and the brightness file of a light under /sys/class/leds.
// It must not know why the box is in a state.
package led

import (
	"context"
	"os"
	"path/filepath"
	"time"
)

// Lamp is an LED, whose device may appear late and disappear.
type Lamp struct {
	files string // the pattern of its brightness file
	file  string // the brightness file; empty until it is found
	next  chan *Pattern
}

// New returns the lamp whose brightness file matches the pattern files.
func New(files string) *Lamp { return &Lamp{files: files, next: make(chan *Pattern)} }

// Show shows a pattern from its beginning, until another is shown.
// It waits for [Lamp.Run].
func (l *Lamp) Show(ctx context.Context, p *Pattern) {
	select {
	case l.next <- p:
	case <-ctx.Done():
	}
}

// Run shows the patterns it receives until ctx ends.
func (l *Lamp) Run(ctx context.Context) {
	var shown *Pattern
	step := 0
	var nextStep <-chan time.Time // fires at the next step
	for {
		select {
		case <-ctx.Done():
			return
		case shown = <-l.next:
			step = 0
		case <-nextStep:
			step = (step + 1) % len(shown.steps)
		}
		l.light(step%2 == 0)
		nextStep = time.After(shown.steps[step])
	}
}

// light switches the LED on or off. If its file is missing, it is looked for again
// at the next step.
func (l *Lamp) light(on bool) {
	value := []byte("0")
	if on {
		value = []byte("255") // the kernel limits it to the LED's maximum
	}
	if l.file != "" && os.WriteFile(l.file, value, 0) == nil {
		return
	}
	l.file = ""
	found, _ := filepath.Glob(l.files)
	if len(found) == 0 {
		return
	}
	l.file = found[0]
	// A kernel trigger would interfere with the pattern.
	_ = os.WriteFile(filepath.Join(filepath.Dir(l.file), "trigger"), []byte("none"), 0)
	_ = os.WriteFile(l.file, value, 0)
}
