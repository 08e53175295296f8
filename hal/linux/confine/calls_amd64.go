package confine

import "golang.org/x/sys/unix"

// architecture is the value of this architecture in struct seccomp_data.
const architecture = unix.AUDIT_ARCH_X86_64

const callMmap = unix.SYS_MMAP

// archSpecific are forbidden system calls that only some architectures have.
var archSpecific = []uint32{unix.SYS_FORK, unix.SYS_VFORK, unix.SYS_USELIB, unix.SYS_MODIFY_LDT, unix.SYS_IOPL, unix.SYS_IOPERM,
	unix.SYS_CREATE_MODULE, unix.SYS_LOOKUP_DCOOKIE, unix.SYS_NFSSERVCTL, unix.SYS__SYSCTL}
