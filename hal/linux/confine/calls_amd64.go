package confine

import "golang.org/x/sys/unix"

// architecture is the kernel's number of it in a filter's data.
const architecture = unix.AUDIT_ARCH_X86_64

const callMmap = unix.SYS_MMAP

var ofArchitecture = []uint32{unix.SYS_FORK, unix.SYS_VFORK, unix.SYS_USELIB, unix.SYS_MODIFY_LDT, unix.SYS_IOPL, unix.SYS_IOPERM,
	unix.SYS_CREATE_MODULE, unix.SYS_LOOKUP_DCOOKIE, unix.SYS_NFSSERVCTL, unix.SYS__SYSCTL}
