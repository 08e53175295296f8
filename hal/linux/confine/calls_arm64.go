package confine

import "golang.org/x/sys/unix"

// architecture is the kernel's number of it in a filter's data.
const architecture = unix.AUDIT_ARCH_AARCH64

const callMmap = unix.SYS_MMAP

var ofArchitecture = []uint32{unix.SYS_LOOKUP_DCOOKIE, unix.SYS_NFSSERVCTL}
