package machine

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// KernelLog is what the kernel has said since the last start of the box, what
// programs wrote to /dev/kmsg included.
func (m *Machine) KernelLog() string {
	m.mu.Lock()
	last := m.starts[len(m.starts)-1]
	m.mu.Unlock()
	log := m.read(kernelLog)
	return log[min(int(last), len(log)):] // a closed machine has no log
}

// AwaitLog waits until the kernel's log since the last start holds the words.
func (m *Machine) AwaitLog(words string) error { return m.AwaitLogTimes(1, words) }

// AwaitLogTimes waits until the kernel's log since the last start holds the
// words n times.
func (m *Machine) AwaitLogTimes(n int, words string) error {
	return m.await(fmt.Sprintf("the kernel's log did not say %q %d times", words, n),
		func() bool { return strings.Count(m.KernelLog(), words) >= n })
}

// logTime is the time at the beginning of a line of the kernel's log.
var logTime = regexp.MustCompile(`^\[ *(\d+\.\d+)\]`)

// Said is AwaitLog, and tells how long after the kernel's start it was said.
func (m *Machine) Said(words string) (time.Duration, error) {
	if err := m.AwaitLog(words); err != nil {
		return 0, err
	}
	for line := range strings.Lines(m.KernelLog()) {
		if found := logTime.FindStringSubmatch(line); found != nil && strings.Contains(line, words) {
			return seconds(found[1])
		}
	}
	return 0, fmt.Errorf("the kernel's log does not say when it said %q:\n%s", words, m.KernelLog())
}

// Light is a change of the lamp.
type Light struct {
	At time.Duration // since the kernel's start; exact to some 30 ms
	On bool
}

// Lamp gives every change of the lamp, of all starts of the box in turn. The
// first one of a start is the lamp as it was found.
func (m *Machine) Lamp() ([]Light, error) {
	var lights []Light
	for line := range strings.Lines(m.read(lampLog)) {
		at, brightness, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if !ok || !strings.HasSuffix(line, "\n") {
			break // the line is still being written, or the power was cut
		}
		when, err := seconds(at)
		if err != nil {
			return nil, err
		}
		lights = append(lights, Light{when, brightness != "0"})
	}
	return lights, nil
}

// AwaitLamp is Lamp, once it gives at least n changes.
func (m *Machine) AwaitLamp(n int) ([]Light, error) {
	var lights []Light
	var failure error
	err := m.await(fmt.Sprintf("the lamp did not change %d times", n), func() bool {
		lights, failure = m.Lamp()
		return failure != nil || len(lights) >= n
	})
	return lights, errors.Join(err, failure)
}

func seconds(text string) (time.Duration, error) {
	value, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0, fmt.Errorf("reading a time of the box: %w", err)
	}
	return time.Duration(value * float64(time.Second)), nil
}
