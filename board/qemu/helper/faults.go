package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// signals are the faults that may be asked for.
var signals = map[string]syscall.Signal{"KILL": syscall.SIGKILL, "STOP": syscall.SIGSTOP, "QUIT": syscall.SIGQUIT}

// causeFaults simulates what goes wrong on a real board: it takes
// lines such as "STOP relay" from the port "faults", and sends the signal to
// the process whose first argument that is; "init" is the first process, which
// no signal stops, but "FREEZE init" does.
func causeFaults() {
	device, err := findPort("faults")
	if err != nil {
		return
	}
	port, err := unix.Open(device, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	const longest = 100
	for line := make([]byte, longest); ; {
		n, err := unix.Read(port, line)
		if err != nil || n <= 0 {
			time.Sleep(100 * time.Millisecond) // the other end is not connected
			continue
		}
		signal, name, _ := strings.Cut(strings.TrimSpace(string(line[:n])), " ")
		for _, pid := range processes(name) {
			if signal == "FREEZE" {
				note(freeze(pid))
				continue
			}
			_ = syscall.Kill(pid, signals[signal])
		}
	}
}

// freeze has the kernel run a process no more.
func freeze(pid int) error {
	const group = "/run/cgroup/frozen"
	if err := os.MkdirAll("/run/cgroup", 0o700); err != nil {
		return err
	}
	if err := unix.Mount("cgroup2", "/run/cgroup", "cgroup2", 0, ""); err != nil {
		return os.NewSyscallError("mounting the control groups", err)
	}
	if err := os.Mkdir(group, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(group+"/cgroup.procs", []byte(strconv.Itoa(pid)), 0); err != nil {
		return err
	}
	return os.WriteFile(group+"/cgroup.freeze", []byte("1"), 0)
}

// note leaves an error in the kernel's log.
func note(err error) {
	if err != nil {
		_ = os.WriteFile("/dev/kmsg", []byte("board-helper: "+err.Error()+"\n"), 0)
	}
}

// processes finds those with this first argument.
func processes(name string) []int {
	if name == "init" {
		return []int{1}
	}
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	var found []int
	for _, file := range files {
		text, _ := os.ReadFile(file)
		arguments := bytes.Split(text, []byte{0})
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil && len(arguments) > 1 && string(arguments[1]) == name {
			found = append(found, pid)
		}
	}
	return found
}
