package machine

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// KernelLog returns the kernel's log since the last start of the box, including
// what programs wrote to /dev/kmsg.
func (m *Machine) KernelLog() string {
	m.mu.Lock()
	last := m.starts[len(m.starts)-1]
	m.mu.Unlock()
	log := m.read(kernelLog)
	return log[min(int(last), len(log)):] // a closed machine has no log
}

// AwaitLog waits until the kernel's log since the last start contains the text.
func (m *Machine) AwaitLog(text string) error { return m.AwaitLogTimes(1, text) }

// AwaitLogTimes waits until the kernel's log since the last start contains the
// text n times.
func (m *Machine) AwaitLogTimes(n int, text string) error {
	return m.await(fmt.Sprintf("the kernel's log does not contain %q %d times", text, n),
		func() bool { return strings.Count(m.KernelLog(), text) >= n })
}

// logTime matches the time at the beginning of a line of the kernel's log.
var logTime = regexp.MustCompile(`^\[ *(\d+\.\d+)\]`)

// AwaitLogTime is AwaitLog; it returns the time of the line since the kernel's
// start.
func (m *Machine) AwaitLogTime(text string) (time.Duration, error) {
	if err := m.AwaitLog(text); err != nil {
		return 0, err
	}
	for line := range strings.Lines(m.KernelLog()) {
		if found := logTime.FindStringSubmatch(line); found != nil && strings.Contains(line, text) {
			return seconds(found[1])
		}
	}
	return 0, fmt.Errorf("no time in the kernel's log for %q:\n%s", text, m.KernelLog())
}

// LampChange is a change of the lamp.
type LampChange struct {
	At time.Duration // since the kernel's start; accurate to about 30 ms
	On bool
}

// LampChanges returns all changes of the lamp over all starts of the box. The
// first of each start is the initial state.
func (m *Machine) LampChanges() ([]LampChange, error) {
	var changes []LampChange
	for line := range strings.Lines(m.read(lampLog)) {
		at, brightness, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if !ok || !strings.HasSuffix(line, "\n") {
			break // the line is still being written, or the power was cut
		}
		when, err := seconds(at)
		if err != nil {
			return nil, err
		}
		changes = append(changes, LampChange{when, brightness != "0"})
	}
	return changes, nil
}

// AwaitLamp waits for at least n changes and returns all changes.
func (m *Machine) AwaitLamp(n int) ([]LampChange, error) {
	var changes []LampChange
	var failure error
	err := m.await(fmt.Sprintf("the lamp did not change %d times", n), func() bool {
		changes, failure = m.LampChanges()
		return failure != nil || len(changes) >= n
	})
	return changes, errors.Join(err, failure)
}

func seconds(text string) (time.Duration, error) {
	value, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0, fmt.Errorf("reading a time of the box: %w", err)
	}
	return time.Duration(value * float64(time.Second)), nil
}
