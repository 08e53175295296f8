package confine

import "golang.org/x/sys/unix"

// architecture is the value of this architecture in struct seccomp_data.
const architecture = unix.AUDIT_ARCH_AARCH64

const callMmap = unix.SYS_MMAP

// archSpecific are forbidden system calls that only some architectures have.
var archSpecific = []uint32{unix.SYS_LOOKUP_DCOOKIE, unix.SYS_NFSSERVCTL}
