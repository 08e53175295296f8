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

// signals are the faults that can be requested.
var signals = map[string]syscall.Signal{"KILL": syscall.SIGKILL, "STOP": syscall.SIGSTOP, "QUIT": syscall.SIGQUIT}

// injectFaults reads lines such as "STOP relay" from the virtio port "faults", and
// sends the signal to the process with this first argument. "init" is PID 1, which
// ignores SIGSTOP, but "FREEZE init" stops it.
func injectFaults() {
	device, err := findPort("faults")
	if err != nil {
		return
	}
	port, err := unix.Open(device, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	const maxLength = 100
	for line := make([]byte, maxLength); ; {
		n, err := unix.Read(port, line)
		if err != nil || n <= 0 {
			time.Sleep(100 * time.Millisecond) // the other end is not connected
			continue
		}
		signal, name, _ := strings.Cut(strings.TrimSpace(string(line[:n])), " ")
		for _, pid := range processes(name) {
			if signal == "FREEZE" {
				logError(freeze(pid))
				continue
			}
			_ = syscall.Kill(pid, signals[signal])
		}
	}
}

// freeze stops a process by the cgroup freezer.
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

// logError writes an error to the kernel log.
func logError(err error) {
	if err != nil {
		_ = os.WriteFile("/dev/kmsg", []byte("board-helper: "+err.Error()+"\n"), 0)
	}
}

// processes returns the IDs of the processes with this first argument.
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
