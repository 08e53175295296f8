package technician

import (
	"strings"
	"testing"
	"time"

	"sealpost/tests/rigs/lab"
	"sealpost/tests/rigs/machine"
	"sealpost/tests/rigs/site"
)

// flashes is the pattern of the lamp between two pauses.
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

// about compares durations of light as exactly as a slow machine allows.
func about(length, want time.Duration) bool {
	const mirrored = 60 * time.Millisecond
	return (length - want).Abs() < want/5+mirrored
}

// shows reports whether the lamp showed the flashes between two pauses, after its
// first changes.
func (f flashes) shows(lights []machine.LampChange, first int) bool {
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

// awaitLamp waits until the lamp shows the flashes; what it showed before does not
// count.
func awaitLamp(t *testing.T, b *lab.Box, f flashes) {
	t.Helper()
	before, err := b.LampChanges()
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		lights, err := b.LampChanges()
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
		lights, err := b.LampChanges()
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

// showsMailByLamp applies settings whose tenant is out of reach, and then good
// ones again.
func showsMailByLamp(t *testing.T, s *site.Site, b *lab.Box) {
	t.Helper()
	away := filesNamed(s, "away")
	const host = "[upstream.connector]\n"
	away["sealpost/sealpost.toml"] = strings.Replace(away["sealpost/sealpost.toml"], host, host+"port = 1\n", 1) // where nobody listens
	show(t, b, "away", lab.NewStick(t, away), done)
	b.AwaitBanner(t)
	awaitSteady(t, b)
	b.MustAccept(t)
	awaitLamp(t, b, held)
	show(t, b, "back", lab.NewStick(t, filesNamed(s, "back")), done)
	mustServeAs(t, s, b, "back")
}

// button is the key that stands for the box's button.
const button = "f12"

// erasedByButton leaves the box new from the factory.
func erasedByButton(t *testing.T, b *lab.Box) {
	b.AwaitBanner(t)
	// The button is on the keyboard, as the lamp is.
	if _, err := b.AwaitLamp(1); err != nil {
		t.Fatal(err)
	}
	starts := b.Starts()
	const tooShort = 3 * time.Second
	if err := b.Press(button); err != nil {
		t.Fatal(err)
	}
	time.Sleep(tooShort) // as a hand holds it
	if err := b.Release(button); err != nil {
		t.Fatal(err)
	}
	b.AwaitBanner(t)
	pressed := time.Now()
	if err := b.Press(button); err != nil {
		t.Fatal(err)
	}
	if err := b.AwaitStart(starts + 1); err != nil {
		t.Fatal(err)
	}
	const hold = 10 * time.Second
	if held := time.Since(pressed); held < hold {
		t.Errorf("the box was reset after %s already", held)
	}
	if err := b.Release(button); err != nil {
		t.Fatal(err)
	}
	b.MustLog(t, lab.Started)
	awaitLamp(t, b, factory)
	mustBeNew(t, b)
}
