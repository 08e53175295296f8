package process

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// children are the processes that this package started; each has a goroutine that
// waits for it. The lock is held from the start of a process until it is listed.
var children = struct {
	sync.Mutex
	pids map[int]bool
}{pids: map[int]bool{}}

// start starts a command and lists it in children until release is called,
// after its end.
func start(command *exec.Cmd) (release func(), err error) {
	children.Lock()
	defer children.Unlock()
	if err := command.Start(); err != nil {
		return nil, err
	}
	pid := command.Process.Pid
	children.pids[pid] = true
	return func() {
		children.Lock()
		defer children.Unlock()
		delete(children.pids, pid)
	}, nil
}

// Run runs a command until it exits.
func Run(command *exec.Cmd) error {
	release, err := start(command)
	if err != nil {
		return fmt.Errorf("starting %s: %w", command.Path, err)
	}
	defer release()
	return command.Wait()
}

// ReapOrphans collects the ended processes that were left to PID 1 by their
// parents, until ctx ends. Processes must be started by this package alone.
func ReapOrphans(ctx context.Context) {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	defer signal.Stop(ended)
	for {
		select {
		case <-ctx.Done():
			return
		case <-ended:
			reap()
		}
	}
}

func reap() {
	children.Lock()
	defer children.Unlock()
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		if pid, dead := zombieOf(path, os.Getpid()); dead && !children.pids[pid] {
			_, _ = syscall.Wait4(pid, nil, syscall.WNOHANG, nil)
		}
	}
}

// zombieOf parses a process's stat file (proc(5)) and returns its PID, and whether it
// is an ended child of parent.
func zombieOf(path string, parent int) (pid int, dead bool) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	// The name in brackets may contain any character, including brackets.
	pidText, rest, _ := strings.Cut(string(text), " ")
	fields := strings.Fields(rest[strings.LastIndexByte(rest, ')')+1:])
	if len(fields) < 2 || fields[0] != "Z" || fields[1] != strconv.Itoa(parent) {
		return 0, false
	}
	pid, err = strconv.Atoi(pidText)
	return pid, err == nil
}
