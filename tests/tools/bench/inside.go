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

// mark tells the program that it runs inside.
const mark = "SEALPOST_BENCH_INSIDE=1"

func isInside() bool { return os.Getenv("SEALPOST_BENCH_INSIDE") != "" }

// insideFailed is the end of the program inside, which has said why.
type insideFailed struct{ *exec.ExitError }

// outside runs this program again with mounts, processes and a loopback
// network of its own. However it ends, the kernel then ends what it started,
// unmounts its file system and frees the loop device.
func outside(ctx context.Context) error {
	if err := lacking(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // Postfix's users have to get in
		return err
	}
	// The kernel tells the child of the death of the thread that made it.
	runtime.LockOSThread()
	inside := exec.CommandContext(ctx, "/proc/self/exe", os.Args[1:]...)
	inside.Env = append(os.Environ(), mark, "TMPDIR="+dir)
	inside.Stdout, inside.Stderr = os.Stdout, os.Stderr
	inside.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET,
		Pdeathsig:  syscall.SIGKILL,
	}
	err = inside.Run()
	if ended := (*exec.ExitError)(nil); errors.As(err, &ended) {
		return &insideFailed{ended}
	}
	if err != nil {
		return fmt.Errorf("making namespaces, which needs a container that may mount (docker run --privileged) or a virtual machine: %w", err)
	}
	return nil
}

// lacking says what is missing to measure anything.
func lacking() error {
	if os.Geteuid() != 0 {
		return errors.New("it mounts a file system and starts Postfix, which only root can: run it as root, such as in a virtual machine")
	}
	for _, part := range []struct{ program, pack string }{
		{"postfix", "postfix"}, {"smtp-source", "postfix"}, {"smtp-sink", "postfix"}, {"swtpm", "swtpm"},
		{"mkfs.ext4", "e2fsprogs"}, {"mount", "mount"}, {"go", "golang-go, 1.26 or later"},
	} {
		if _, err := exec.LookPath(part.program); err != nil {
			return fmt.Errorf("the program %s is missing: install the Debian package %s", part.program, part.pack)
		}
	}
	return nil
}

// settle makes the namespaces usable: mounts stay inside, /proc shows the
// processes inside, and 127.0.0.1 answers.
func settle() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keeping mounts to ourselves: %w", err)
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
		return fmt.Errorf("bringing up the loopback network: %w", err)
	}
	return nil
}
