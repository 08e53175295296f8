package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// childVariable marks the run inside the namespaces.
const childVariable = "SEALPOST_BENCH_INSIDE=1"

func isInside() bool { return os.Getenv("SEALPOST_BENCH_INSIDE") != "" }

// childFailed is the exit status of the run inside, which has printed the reason.
type childFailed struct{ *exec.ExitError }

// runInNamespaces runs this program again in new mount, PID and network namespaces.
// When it ends, for any reason, the kernel kills its processes, unmounts its file
// system and frees the loop device.
func runInNamespaces(ctx context.Context) error {
	if err := checkRequirements(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // Postfix's users must be able to enter
		return err
	}
	// Pdeathsig is sent when the creating thread ends, not the process.
	runtime.LockOSThread()
	child := exec.CommandContext(ctx, "/proc/self/exe", os.Args[1:]...)
	child.Env = append(os.Environ(), childVariable, "TMPDIR="+dir)
	child.Stdout, child.Stderr = os.Stdout, os.Stderr
	child.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET,
		Pdeathsig:  syscall.SIGKILL,
	}
	err = child.Run()
	if ended := (*exec.ExitError)(nil); errors.As(err, &ended) {
		return &childFailed{ended}
	}
	if err != nil {
		return fmt.Errorf("creating namespaces, which needs a virtual machine or a container with --privileged: %w", err)
	}
	return nil
}

// checkRequirements returns an error if root rights or a program are missing.
func checkRequirements() error {
	if os.Geteuid() != 0 {
		return errors.New("only root can mount a file system and start Postfix: run the benchmark as root, such as in a virtual machine")
	}
	for _, part := range []struct{ program, debianPackage string }{
		{"postfix", "postfix"}, {"smtp-source", "postfix"}, {"smtp-sink", "postfix"}, {"swtpm", "swtpm"},
		{"mkfs.ext4", "e2fsprogs"}, {"mount", "mount"}, {"go", "golang-go, 1.26 or later"},
	} {
		if _, err := exec.LookPath(part.program); err != nil {
			return fmt.Errorf("the program %s is missing: install the Debian package %s", part.program, part.debianPackage)
		}
	}
	return nil
}

// setUpNamespaces makes mounts private, mounts /proc and brings the loopback
// interface up.
func setUpNamespaces() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	loopback, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	loopback.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, loopback); err != nil {
		return fmt.Errorf("bringing up the loopback interface: %w", err)
	}
	return nil
}
