package confine

import "golang.org/x/sys/unix"

// architecture is the kernel's number of it in a filter's data.
const architecture = unix.AUDIT_ARCH_ARM

const callMmap = unix.SYS_MMAP2

var ofArchitecture = []uint32{unix.SYS_FORK, unix.SYS_VFORK, unix.SYS_USELIB, unix.SYS_CLOCK_SETTIME64, unix.SYS_CLOCK_ADJTIME64,
	unix.SYS_LOOKUP_DCOOKIE, unix.SYS_NFSSERVCTL, unix.SYS__SYSCTL, unix.SYS_PCICONFIG_READ, unix.SYS_PCICONFIG_WRITE, unix.SYS_PCICONFIG_IOBASE}
