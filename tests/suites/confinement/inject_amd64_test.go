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

// thread is a thread of another process, stopped by a debugger's means, which
// carries out the system calls that it is told.
type thread struct {
	tid   int
	found unix.PtraceRegs // what it goes on with
	page  uintptr         // of its process, for texts
}

const pageSize = 4096

// seize stops a thread of the process that waits in a system call. It is not the
// first one, for whose stops the process's parent waits too. The caller stays on
// its operating system thread until release.
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
		if t.waits() {
			return t, t.takePage()
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
	return unix.PtraceGetRegs(t.tid, &t.found)
}

// await gives the signal at which the thread stops.
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

// instruction is where the thread's last system call was made from.
func (t *thread) instruction() uintptr { return uintptr(t.found.Rip) - 2 }

func (t *thread) waits() bool {
	var code [2]byte
	n, err := unix.PtracePeekText(t.tid, t.instruction(), code[:])
	return err == nil && n == len(code) && code == [2]byte{0x0f, 0x05}
}

// takePage gets memory in the process that nothing else uses.
func (t *thread) takePage() (err error) {
	t.page, err = t.call(unix.SYS_MMAP, 0, pageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, ^uintptr(0), 0)
	return err
}

// text puts a string into the process and gives its address; each takes the
// place of the one before in its half of the page.
func (t *thread) text(half int, s string) (uintptr, error) {
	at := t.page + uintptr(half)*pageSize/2
	_, err := unix.PtracePokeData(t.tid, at, append([]byte(s), 0))
	return at, err
}

// call has the thread carry out a system call; the error is its own.
func (t *thread) call(number uintptr, arguments ...uintptr) (uintptr, error) {
	var a [6]uint64
	for i, argument := range arguments {
		a[i] = uint64(argument)
	}
	regs := t.found
	regs.Rax, regs.Orig_rax = uint64(number), ^uint64(0)
	regs.Rdi, regs.Rsi, regs.Rdx, regs.R10, regs.R8, regs.R9 = a[0], a[1], a[2], a[3], a[4], a[5]
	regs.Rip = uint64(t.instruction())
	if err := unix.PtraceSetRegs(t.tid, &regs); err != nil {
		return 0, err
	}
	for _, stop := range []string{"entry", "exit"} {
		if err := t.proceed(); err != nil {
			return 0, fmt.Errorf("awaiting the call's %s: %w", stop, err)
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

// try is call where the value is of no account.
func (t *thread) try(number uintptr, arguments ...uintptr) error {
	_, err := t.call(number, arguments...)
	return err
}

// proceed lets the thread go on to the next beginning or end of a system call.
// Other signals, such as those of the Go runtime, are ignored.
func (t *thread) proceed() error {
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

// release lets the thread go on as if nothing had happened.
func (t *thread) release() error {
	defer runtime.UnlockOSThread()
	return errors.Join(t.try(unix.SYS_MUNMAP, t.page, pageSize), unix.PtraceSetRegs(t.tid, &t.found), unix.PtraceDetach(t.tid))
}

// open has the thread open a file, and close it again.
func (t *thread) open(path string, flags int) error {
	name, err := t.text(0, path)
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

// at has the thread make a system call on a path below its working folder.
func (t *thread) at(number uintptr, path string, more ...uintptr) error {
	name, err := t.text(0, path)
	if err != nil {
		return err
	}
	return t.try(number, append([]uintptr{cwd, name}, more...)...)
}

// between has the thread make a system call on two paths.
func (t *thread) between(number uintptr, from, to string) error {
	a, err := t.text(0, from)
	if err != nil {
		return err
	}
	b, err := t.text(1, to)
	if err != nil {
		return err
	}
	return t.try(number, cwd, a, cwd, b, 0)
}

// cwd is AT_FDCWD.
const cwd = ^uintptr(99)
