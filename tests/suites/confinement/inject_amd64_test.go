package confinement

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// thread is a thread of another process, stopped by ptrace, that executes system
// calls for the test.
type thread struct {
	tid   int
	saved unix.PtraceRegs // restored by release
	page  uintptr         // in its process, for strings
}

const pageSize = 4096

// seize stops a thread that waits in a system call. It skips the first thread, because
// the parent process waits for it too. The caller is locked to its operating system
// thread until release.
func seize(pid int) (*thread, error) {
	runtime.LockOSThread()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	if err != nil || len(tasks) == 0 {
		return nil, fmt.Errorf("process %d has no threads: %v", pid, err)
	}
	for _, task := range tasks {
		tid, err := strconv.Atoi(filepath.Base(task))
		if err != nil {
			return nil, err
		}
		if tid == pid {
			continue
		}
		t := &thread{tid: tid}
		if err := t.stop(); err != nil {
			return nil, err
		}
		if t.inSystemCall() {
			return t, t.mapPage()
		}
		if err := unix.PtraceDetach(tid); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("no thread of process %d waits in a system call", pid)
}

func (t *thread) stop() error {
	if err := unix.PtraceAttach(t.tid); err != nil {
		return fmt.Errorf("stopping thread %d: %w", t.tid, err)
	}
	if _, err := t.await(); err != nil {
		return err
	}
	if err := unix.PtraceSetOptions(t.tid, unix.PTRACE_O_TRACESYSGOOD); err != nil {
		return err
	}
	return unix.PtraceGetRegs(t.tid, &t.saved)
}

// await waits until the thread stops, and returns the signal.
func (t *thread) await() (syscall.Signal, error) {
	var status unix.WaitStatus
	if _, err := unix.Wait4(t.tid, &status, unix.WALL, nil); err != nil {
		return 0, fmt.Errorf("waiting for thread %d: %w", t.tid, err)
	}
	if !status.Stopped() {
		return 0, fmt.Errorf("thread %d has ended", t.tid)
	}
	return status.StopSignal(), nil
}

// instruction returns the address of the SYSCALL instruction that was executed last.
func (t *thread) instruction() uintptr { return uintptr(t.saved.Rip) - 2 }

// inSystemCall reports whether the previous instruction is SYSCALL.
func (t *thread) inSystemCall() bool {
	var code [2]byte
	n, err := unix.PtracePeekText(t.tid, t.instruction(), code[:])
	return err == nil && n == len(code) && code == [2]byte{0x0f, 0x05}
}

// mapPage maps a page in the process.
func (t *thread) mapPage() (err error) {
	t.page, err = t.call(unix.SYS_MMAP, 0, pageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, ^uintptr(0), 0)
	return err
}

// putString writes a string to one half of the page, and returns its address. It
// overwrites the previous string there.
func (t *thread) putString(half int, s string) (uintptr, error) {
	return t.putBytes(half, append([]byte(s), 0))
}

// putBytes is putString for other data.
func (t *thread) putBytes(half int, data []byte) (uintptr, error) {
	at := t.page + uintptr(half)*pageSize/2
	_, err := unix.PtracePokeData(t.tid, at, data)
	return at, err
}

// call has the thread execute a system call, and returns its result.
func (t *thread) call(number uintptr, arguments ...uintptr) (uintptr, error) {
	var a [6]uint64
	for i, argument := range arguments {
		a[i] = uint64(argument)
	}
	regs := t.saved
	regs.Rax, regs.Orig_rax = uint64(number), ^uint64(0)
	regs.Rdi, regs.Rsi, regs.Rdx, regs.R10, regs.R8, regs.R9 = a[0], a[1], a[2], a[3], a[4], a[5]
	regs.Rip = uint64(t.instruction())
	if err := unix.PtraceSetRegs(t.tid, &regs); err != nil {
		return 0, err
	}
	for _, stop := range []string{"entry", "exit"} {
		if err := t.resumeToSystemCall(); err != nil {
			return 0, fmt.Errorf("waiting for the system call's %s: %w", stop, err)
		}
	}
	if err := unix.PtraceGetRegs(t.tid, &regs); err != nil {
		return 0, err
	}
	if failure := -int64(regs.Rax); failure > 0 && failure < pageSize {
		return 0, syscall.Errno(failure)
	}
	return uintptr(regs.Rax), nil
}

// try is call without the value.
func (t *thread) try(number uintptr, arguments ...uintptr) error {
	_, err := t.call(number, arguments...)
	return err
}

// resumeToSystemCall runs the thread to the next entry or exit of a system call. It
// ignores other signals, such as those of the Go runtime.
func (t *thread) resumeToSystemCall() error {
	const atSystemCall = unix.SIGTRAP | 0x80 // by PTRACE_O_TRACESYSGOOD
	for {
		if err := unix.PtraceSyscall(t.tid, 0); err != nil {
			return err
		}
		if signal, err := t.await(); err != nil || signal == atSystemCall {
			return err
		}
	}
}

// release restores the registers and detaches from the thread.
func (t *thread) release() error {
	defer runtime.UnlockOSThread()
	return errors.Join(t.try(unix.SYS_MUNMAP, t.page, pageSize), unix.PtraceSetRegs(t.tid, &t.saved), unix.PtraceDetach(t.tid))
}

// open has the thread open and close a file.
func (t *thread) open(path string, flags int) error {
	name, err := t.putString(0, path)
	if err != nil {
		return err
	}
	const private = 0o600
	fd, err := t.call(unix.SYS_OPENAT, cwd, name, uintptr(flags), private)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	return t.try(unix.SYS_CLOSE, fd)
}

// callAt has the thread execute a system call with AT_FDCWD and a path.
func (t *thread) callAt(number uintptr, path string, more ...uintptr) error {
	name, err := t.putString(0, path)
	if err != nil {
		return err
	}
	return t.try(number, append([]uintptr{cwd, name}, more...)...)
}

// callAt2 has the thread execute a system call with AT_FDCWD and two paths.
func (t *thread) callAt2(number uintptr, from, to string) error {
	a, err := t.putString(0, from)
	if err != nil {
		return err
	}
	b, err := t.putString(1, to)
	if err != nil {
		return err
	}
	return t.try(number, cwd, a, cwd, b, 0)
}

// cwd is AT_FDCWD.
const cwd = ^uintptr(99)
