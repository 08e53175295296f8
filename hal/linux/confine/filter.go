package confine

import (
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Offsets in the data of a filter (struct seccomp_data). Of an argument of 64 bits
// the filter reads the lower half; all these architectures are little-endian.
const (
	offsetNumber       = 0
	offsetArchitecture = 4
	offsetArguments    = 16
	argumentSize       = 8
)

func load(offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

func loadArgument(n uint32) unix.SockFilter { return load(offsetArguments + n*argumentSize) }

func and(mask uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: mask}
}

// skipUnless skips a number of instructions unless the loaded value is k.
func skipUnless(k uint32, instructions int) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: uint8(instructions), K: k}
}

func skipIf(k uint32, instructions int) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: uint8(instructions), K: k}
}

func result(action uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: action}
}

func fail(with unix.Errno) unix.SockFilter {
	return result(unix.SECCOMP_RET_ERRNO | uint32(with))
}

// filter returns the program that judges each system call of the process.
func filter(self uint32) []unix.SockFilter {
	f := []unix.SockFilter{
		// Another architecture has other numbers.
		load(offsetArchitecture),
		skipIf(architecture, 1),
		result(unix.SECCOMP_RET_KILL_PROCESS),
		load(offsetNumber),
		// The numbers of x32 on amd64 are above these too.
		{Code: unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K, Jf: 1, K: newest},
		fail(unix.ENOSYS),
	}
	for _, group := range forbidden {
		for _, call := range group.calls {
			f = append(f, skipUnless(call, 1), fail(group.result))
		}
	}
	for _, c := range conditions(self) {
		f = append(f, skipUnless(c.call, 5), loadArgument(c.argument), and(c.mask), skipIf(c.value, 1), fail(unix.EPERM), load(offsetNumber))
	}
	f = append(f, skipUnless(unix.SYS_SOCKET, len(sockets)*socketInstructions+1))
	for _, s := range sockets {
		f = append(f, socketRule(s.family, s.kind, s.protocol)...)
	}
	return append(f, fail(unix.EPERM), result(unix.SECCOMP_RET_ALLOW))
}

const socketInstructions = 8

// socketRule allows one kind of socket.
func socketRule(family, kind, protocol uint32) []unix.SockFilter {
	const kinds = 0xf // without SOCK_CLOEXEC and SOCK_NONBLOCK
	return []unix.SockFilter{
		loadArgument(0), skipUnless(family, 6),
		loadArgument(1), and(kinds), skipUnless(kind, 3),
		loadArgument(2), skipUnless(protocol, 1),
		result(unix.SECCOMP_RET_ALLOW),
	}
}

// ForbidListening keeps the process from opening further listeners. Landlock cannot: it
// sees bind, and a socket that listens without it gets a port of the kernel's choice.
func ForbidListening() error {
	err := install([]unix.SockFilter{
		load(offsetNumber), skipUnless(unix.SYS_LISTEN, 1), fail(unix.EPERM), result(unix.SECCOMP_RET_ALLOW),
	})
	if err != nil {
		return fmt.Errorf("confining the process to its listeners: %w", err)
	}
	return nil
}

// filterCalls confines the process to its system calls.
func filterCalls() error {
	if err := install(filter(uint32(os.Getpid()))); err != nil {
		return fmt.Errorf("confining the process to its system calls: %w", err)
	}
	return nil
}

// install adds a filter to every thread. Of several the strictest result counts.
func install(instructions []unix.SockFilter) error {
	program := unix.SockFprog{Len: uint16(len(instructions)), Filter: &instructions[0]}
	// The calling thread must have no_new_privs before; the others get it with the filter.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("setting no_new_privs: %w", err)
	}
	thread, _, fault := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program)))
	switch {
	case fault != 0:
		return fmt.Errorf("installing the filter: %w", fault)
	case thread != 0: // the kernel's way to say that nothing was installed
		return fmt.Errorf("installing the filter: thread %d has one that the others lack", thread)
	}
	return nil
}
