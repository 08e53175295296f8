package confine

import "golang.org/x/sys/unix"

// architecture is the value of this architecture in struct seccomp_data.
const architecture = unix.AUDIT_ARCH_ARM

const callMmap = unix.SYS_MMAP2

// archSpecific are forbidden system calls that only some architectures have.
var archSpecific = []uint32{unix.SYS_FORK, unix.SYS_VFORK, unix.SYS_USELIB, unix.SYS_CLOCK_SETTIME64, unix.SYS_CLOCK_ADJTIME64,
	unix.SYS_LOOKUP_DCOOKIE, unix.SYS_NFSSERVCTL, unix.SYS__SYSCTL, unix.SYS_PCICONFIG_READ, unix.SYS_PCICONFIG_WRITE, unix.SYS_PCICONFIG_IOBASE}
