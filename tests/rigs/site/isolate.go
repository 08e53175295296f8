package site

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/vishvananda/netlink"
)

// inside is set in the environment of a program that Isolate started.
const inside = "SEALPOST_TEST_ISOLATED"

// Isolated reports whether the program already runs in its own network namespace.
func Isolated() bool { return os.Getenv(inside) != "" }

// Isolate runs the program again in its own network namespace, where every port
// is free and nothing outside can be reached, and returns that run's exit status.
// In that run, Isolate returns false immediately.
func Isolate() (status int, outside bool, err error) {
	if Isolated() {
		return 0, false, setUpNetwork()
	}
	command := exec.Command("/proc/self/exe", os.Args[1:]...)
	command.Args[0] = os.Args[0]
	command.Env = append(os.Environ(), inside+"=yes")
	command.Stdin, command.Stdout, command.Stderr = os.Stdin, os.Stdout, os.Stderr
	command.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	err = command.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		err = nil
	}
	if err != nil {
		return 0, true, fmt.Errorf("starting the tests in a network namespace, which needs root: %w", err)
	}
	return command.ProcessState.ExitCode(), true, nil
}

// setUpNetwork brings up the loopback interface and makes 127.0.0.1 the resolver of the
// programs in the namespace.
func setUpNetwork() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return err
	}
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	path := filepath.Join(os.TempDir(), fmt.Sprintf("resolv.conf.%d", os.Getpid()))
	if err := os.WriteFile(path, []byte("nameserver 127.0.0.1\n"), 0o644); err != nil {
		return err
	}
	if err := syscall.Mount(path, "/etc/resolv.conf", "", syscall.MS_BIND, ""); err != nil {
		return fmt.Errorf("setting the resolver: %w", err)
	}
	return os.Remove(path)
}
