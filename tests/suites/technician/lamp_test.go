package technician

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"sealpost/tests/rigs/lab"
	"sealpost/tests/rigs/machine"
	"sealpost/tests/rigs/site"
)

// flashes is a pattern of the lamp: n flashes between two pauses.
type flashes struct {
	n      int
	length time.Duration
}

var (
	factoryPattern  = flashes{1, time.Second}
	appliedPattern  = flashes{3, 600 * time.Millisecond}
	rejectedPattern = flashes{5, 150 * time.Millisecond}
	heldPattern     = flashes{2, 150 * time.Millisecond}
)

// isAbout compares durations with the tolerance that a slow machine needs.
func isAbout(length, want time.Duration) bool {
	const delay = 60 * time.Millisecond // between the lamp and the test
	return (length - want).Abs() < want/5+delay
}

// shows reports whether the lamp showed the flashes between two pauses, after the
// first changes.
func (f flashes) shows(lights []machine.LampChange, first int) bool {
	const pause = 700 * time.Millisecond
	n, lengthsMatch := 0, false
	for i := first + 1; i < len(lights); i++ {
		length := lights[i].At - lights[i-1].At
		switch {
		case lights[i-1].On:
			n++
			lengthsMatch = lengthsMatch && isAbout(length, f.length)
		case length > pause:
			if lengthsMatch && n == f.n {
				return true
			}
			n, lengthsMatch = 0, true
		}
	}
	return false
}

// awaitLamp waits until the lamp shows the flashes. It ignores earlier changes.
func awaitLamp(t *testing.T, b *lab.Box, f flashes) {
	t.Helper()
	before, err := b.LampChanges()
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(machine.WaitLimit); ; time.Sleep(50 * time.Millisecond) {
		lights, err := b.LampChanges()
		if err != nil {
			t.Fatal(err)
		}
		if f.shows(lights, len(before)) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("want %d flashes of %s, got lamp changes %v\n%s", f.n, f.length, lights[max(0, len(lights)-40):], b.KernelLog())
		}
	}
}

// awaitSteady waits until the lamp has been on for longer than any pattern.
func awaitSteady(t *testing.T, b *lab.Box) {
	t.Helper()
	const longest = 3 * time.Second
	since, count := time.Now(), -1
	for deadline := time.Now().Add(machine.WaitLimit); ; time.Sleep(50 * time.Millisecond) {
		lights, err := b.LampChanges()
		if err != nil {
			t.Fatal(err)
		}
		if len(lights) != count {
			since, count = time.Now(), len(lights)
		}
		if count > 0 && lights[count-1].On && time.Since(since) > longest {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the lamp does not stay on: %v", lights[max(0, count-20):])
		}
	}
}

// showsHeldMailByLamp applies settings whose tenant is unreachable, and then correct
// ones.
func showsHeldMailByLamp(t *testing.T, s *site.Site, b *lab.Box) {
	t.Helper()
	unreachable := filesNamed(s, "away")
	const host = "[upstream.connector]\n"
	unreachable["sealpost/sealpost.toml"] = strings.Replace(unreachable["sealpost/sealpost.toml"], host, host+"port = 1\n", 1) // where no server listens
	insertStick(t, b, "away", lab.NewStick(t, unreachable), appliedPattern)
	b.AwaitBanner(t)
	awaitSteady(t, b)
	b.MustAccept(t)
	awaitLamp(t, b, heldPattern)
	insertStick(t, b, "back", lab.NewStick(t, filesNamed(s, "back")), appliedPattern)
	mustServeAs(t, s, b, "back")
}

// button is the key that simulates the box's button.
const button = "f12"

// isErasedByButton leaves the box in factory state.
func isErasedByButton(t *testing.T, b *lab.Box) {
	b.AwaitBanner(t)
	// The keyboard has the button and the lamp.
	if _, err := b.AwaitLamp(1); err != nil {
		t.Fatal(err)
	}
	starts := b.Starts()
	const tooShort = 3 * time.Second
	if err := b.Press(button); err != nil {
		t.Fatal(err)
	}
	time.Sleep(tooShort)
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
	if took := time.Since(pressed); took < hold {
		t.Errorf("got a reset after %s, want at least %s", took, hold)
	}
	if err := b.Release(button); err != nil {
		t.Fatal(err)
	}
	b.MustLog(t, lab.Started)
	awaitLamp(t, b, factoryPattern)
	mustBeNew(t, b)
	if bytes.Contains(settingsArea(t, b), []byte(sectionDevices)) {
		t.Error("the settings area still has the devices")
	}
}
