package technician

import (
	"testing"
	"time"

	"sealpost/tests/rigs/lab"
	"sealpost/tests/rigs/machine"
)

// flashes is what the lamp shows between two pauses.
type flashes struct {
	n      int
	length time.Duration
}

var (
	factory = flashes{1, time.Second}
	done    = flashes{3, 600 * time.Millisecond}
	refused = flashes{5, 150 * time.Millisecond}
	held    = flashes{2, 150 * time.Millisecond}
)

// about compares lengths of light as far as a slow machine allows.
func about(length, want time.Duration) bool {
	const mirrored = 60 * time.Millisecond
	return (length - want).Abs() < want/5+mirrored
}

// shows tells whether the lamp showed the flashes between two pauses, its first
// changes left out.
func (f flashes) shows(lights []machine.Light, first int) bool {
	const pause = 700 * time.Millisecond
	n, alike := 0, false
	for i := first + 1; i < len(lights); i++ {
		length := lights[i].At - lights[i-1].At
		switch {
		case lights[i-1].On:
			n++
			alike = alike && about(length, f.length)
		case length > pause:
			if alike && n == f.n {
				return true
			}
			n, alike = 0, true
		}
	}
	return false
}

// awaitLamp waits until the lamp, from now on, shows the flashes.
func awaitLamp(t *testing.T, b *lab.Box, f flashes) {
	t.Helper()
	before, err := b.Lamp()
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		lights, err := b.Lamp()
		if err != nil {
			t.Fatal(err)
		}
		if f.shows(lights, len(before)) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the lamp did not flash %d times for %s, but %v\n%s", f.n, f.length, lights[max(0, len(lights)-40):], b.KernelLog())
		}
	}
}

// awaitSteady waits until the lamp has been on for longer than any pattern lasts.
func awaitSteady(t *testing.T, b *lab.Box) {
	t.Helper()
	const longest = 3 * time.Second
	since, known := time.Now(), -1
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		lights, err := b.Lamp()
		if err != nil {
			t.Fatal(err)
		}
		if len(lights) != known {
			since, known = time.Now(), len(lights)
		}
		if known > 0 && lights[known-1].On && time.Since(since) > longest {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the lamp does not stay on: %v", lights[max(0, known-20):])
		}
	}
}

func TestTheLampTellsThatMailFlowsAndThatItIsHeld(t *testing.T) {
	s := lab.OpenSite(t)
	away := lab.FullyFor(s)
	away.Settings += "port = 1\n" // where nobody listens
	b := lab.Running(t, away)
	awaitSteady(t, b)
	b.Keeps(t)
	awaitLamp(t, b, held)
}

// button is the key that stands for the box's.
const button = "f12"

func TestTheResetButtonErasesTheBoxOnlyWhenItIsHeld(t *testing.T) {
	s, b := lab.OpenSite(t), lab.New(t)
	b.SetUp(t, lab.FullyFor(s))
	b.SwitchOn(t)
	b.AwaitBanner(t)
	// The button is on the keyboard, as the lamp is.
	if _, err := b.AwaitLamp(1); err != nil {
		t.Fatal(err)
	}
	const tooShort = 3 * time.Second
	if err := b.Press(button); err != nil {
		t.Fatal(err)
	}
	time.Sleep(tooShort) // is what a hand does
	if err := b.Release(button); err != nil {
		t.Fatal(err)
	}
	b.AwaitBanner(t)
	pressed := time.Now()
	if err := b.Press(button); err != nil {
		t.Fatal(err)
	}
	if err := b.AwaitStart(2); err != nil {
		t.Fatal(err)
	}
	const hold = 10 * time.Second
	if held := time.Since(pressed); held < hold {
		t.Errorf("the box was reset after %s already", held)
	}
	if err := b.Release(button); err != nil {
		t.Fatal(err)
	}
	b.AwaitWords(t, lab.Started)
	awaitLamp(t, b, factory)
	if greeting := b.Greeting(); greeting != "" {
		t.Errorf("the box still says %q", greeting)
	}
}
