package main

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// process is an entry of the process table.
type process struct {
	pid, parent int
	cpu         time.Duration // including children it has waited for
}

// processTree returns a process and all its descendants.
func processTree(pid int) ([]process, error) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	children := make(map[int][]process)
	var found []process
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		p, err := parseProcess(text)
		if err != nil {
			return nil, err
		}
		children[p.parent] = append(children[p.parent], p)
		if p.pid == pid {
			found = append(found, p)
		}
	}
	for i := 0; i < len(found); i++ {
		found = append(found, children[found[i].pid]...)
	}
	return found, nil
}

// parseProcess reads /proc/PID/stat, see proc(5).
func parseProcess(stat []byte) (process, error) {
	var p process
	var user, system, waitedUser, waitedSystem int64
	pidEnd, nameEnd := bytes.IndexByte(stat, ' '), bytes.LastIndexByte(stat, ')')
	if pidEnd < 0 || nameEnd < pidEnd {
		return p, fmt.Errorf("not a line of /proc/PID/stat: %q", stat)
	}
	// After the name in brackets: the state is field 3, the parent 4, the times
	// 14 to 17, in 1/100 s.
	fields := strings.Fields(string(stat[nameEnd+1:]))
	if len(fields) < 15 {
		return p, fmt.Errorf("not a line of /proc/PID/stat: %q", stat)
	}
	_, err := fmt.Sscan(strings.Join(append([]string{string(stat[:pidEnd]), fields[1]}, fields[11:15]...), " "),
		&p.pid, &p.parent, &user, &system, &waitedUser, &waitedSystem)
	p.cpu = time.Duration(user+system+waitedUser+waitedSystem) * 10 * time.Millisecond
	return p, err
}

// cpu returns the processor time of a process tree.
func cpu(pid int) (time.Duration, error) {
	var sum time.Duration
	members, err := processTree(pid)
	for _, p := range members {
		sum += p.cpu
	}
	return sum, err
}

// memory returns the proportional set size of a process tree in bytes: memory shared
// between processes counts once.
func memory(pid int) (int64, error) {
	var sum int64
	members, err := processTree(pid)
	for _, p := range members {
		pss, err := readKiB(fmt.Sprintf("/proc/%d/smaps_rollup", p.pid), "Pss")
		if err == nil { // otherwise it has ended
			sum += pss
		}
	}
	return sum, err
}

// highWater returns the kernel's peak of a process's memory in bytes, or NaN for
// several processes, which peak at different times.
func highWater(pid int) (float64, error) {
	members, err := processTree(pid)
	if err != nil || len(members) != 1 {
		return math.NaN(), err
	}
	peak, err := readKiB(fmt.Sprintf("/proc/%d/status", pid), "VmHWM")
	return float64(peak), err
}

// readKiB reads a line such as "VmHWM: 12 kB" and returns bytes.
func readKiB(file, name string) (int64, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, found := strings.CutPrefix(line, name+":"); found {
			n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("%s has no line %s", file, name)
}

// samplePeakMemory samples the memory of a process tree until stop is called, which
// returns the peak in bytes.
func samplePeakMemory(pid int) (stop func() (int64, error)) {
	done := make(chan struct{})
	var peak int64
	var failure error
	var watching sync.WaitGroup
	watching.Go(func() {
		for failure == nil {
			start := time.Now()
			var now int64
			now, failure = memory(pid)
			peak = max(peak, now)
			// Sampling 130 processes is slow: use at most a twentieth of the time.
			pause := max(50*time.Millisecond, 20*time.Since(start))
			select {
			case <-done:
				return
			case <-time.After(pause):
			}
		}
	})
	return func() (int64, error) {
		close(done)
		watching.Wait()
		return peak, failure
	}
}
